package activities

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.temporal.io/sdk/activity"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/report/evidence"
	"drctl/internal/sandbox"
)

// OpenSandbox makes a sandbox on this host, or finds it again.
func (a *Activities) OpenSandbox(ctx context.Context, in SandboxIn) (SandboxRef, error) {
	of := activity.GetInfo(ctx).WorkflowExecution

	ref, err := a.openSandbox(ctx, in, sandbox.Run{Workflow: of.ID, ID: of.RunID})

	return ref, engine.EncodeError(err)
}

func (a *Activities) openSandbox(ctx context.Context, in SandboxIn, by sandbox.Run) (SandboxRef, error) {
	opt := sandbox.Options{Root: a.SandboxRoot, ID: in.ID, Purpose: in.Purpose, Owner: a.SandboxOwner, MadeBy: by}
	if opt.Owner == 0 {
		opt.Run = by
	}

	box, err := sandbox.Create(ctx, opt)
	if fail.Is(err, fail.Conflict) { // a repeat
		box, err = sandbox.Open(filepath.Join(a.SandboxRoot, in.ID)) // Create has checked the id
	}

	if err != nil {
		return SandboxRef{}, err
	}

	return SandboxRef{ID: in.ID, Dir: box.Dir(), Queue: a.HostQueue}, nil
}

// CheckSpace says whether what a plan will write fits into the sandbox: into
// the free space of its volume and under the configured limit. A gate that
// does not pass is an answer, not an error.
func (a *Activities) CheckSpace(ctx context.Context, in SpaceIn) (evidence.Precheck, error) {
	g, err := a.checkSpace(in)
	return g, engine.EncodeError(err)
}

func (a *Activities) checkSpace(in SpaceIn) (evidence.Precheck, error) {
	g := evidence.Precheck{Name: "free space", At: time.Now().UTC()}

	var st syscall.Statfs_t
	if err := syscall.Statfs(in.Sandbox.Dir, &st); err != nil {
		return g, fail.New(fail.Unavailable, "sandbox: free space", in.Sandbox.Dir, "", err)
	}
	free := int64(st.Bavail) * st.Bsize

	g.Passed, g.Detail = fits(in.Need, free, a.SandboxMax)
	if len(in.Uncounted) > 0 {
		g.Detail += "; not counted: " + strings.Join(in.Uncounted, ", ")
	}

	return g, nil
}

// fits compares what a plan writes with what there is and what is allowed.
func fits(need, free, limit int64) (bool, string) {
	detail := fmt.Sprintf("%s free, %s needed", human.Bytes(free), human.Bytes(need))
	if limit > 0 {
		detail += fmt.Sprintf(", %s allowed (sandbox.max_bytes)", human.Bytes(limit))
	}

	return need <= free && (limit == 0 || need <= limit), detail
}

// KeepSandbox records that a sandbox is left although its workflow ends. The
// workers of its host remove it when its time is up, whatever has become of the
// engine; one without a time is left until somebody removes it.
func (a *Activities) KeepSandbox(_ context.Context, in KeepIn) error {
	if err := in.Sandbox.Check(); err != nil {
		return engine.EncodeError(err)
	}

	box, err := sandbox.Open(in.Sandbox.Dir)
	if err == nil {
		err = box.Keep(in.Until)
	}

	return engine.EncodeError(err)
}

// CloseSandbox stops and removes a sandbox; one that is gone is fine.
func (a *Activities) CloseSandbox(ctx context.Context, ref SandboxRef) error {
	// Removing many files reports no progress of its own; every call in it is
	// one of the local file system.
	stop := beatEvery(ctx, 5*time.Second, func() engine.Beat { return engine.Beat{Phase: "remove the sandbox", Detail: ref.ID} })
	defer stop()

	if err := ref.Check(); err != nil {
		return engine.EncodeError(err)
	}

	box, err := sandbox.Open(ref.Dir)
	if fail.Is(err, fail.NotFound) {
		return nil
	}

	if err == nil {
		err = box.Remove(ctx)
	}

	return engine.EncodeError(err)
}
