package activities

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.temporal.io/sdk/activity"

	"drctl/internal/atomicfile"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/internal/sandbox"
	"drctl/internal/sandbox/claim"
	"drctl/internal/servers"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/targets"
)

// RestoreShard lays one shard down and brings it to its point.
func (a *Activities) RestoreShard(ctx context.Context, in StepIn) (plan.StepOut, error) {
	out, err := a.restoreShard(ctx, in)
	return out, engine.EncodeAttempt(err, int(activity.GetInfo(ctx).Attempt))
}

func (a *Activities) restoreShard(parent context.Context, in StepIn) (plan.StepOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	out := stepOut(ctx, in)
	if err := in.check(); err != nil {
		return out, err
	}
	beat := newBeater(ctx, in.Step.Shard)
	beat.progress("start", 0, 0)
	d, err := a.driver(in.Step.Kind)
	if err != nil {
		return out, err
	}
	v, err := a.Platform.Vault(ctx, in.Vault)
	if err != nil {
		return out, err
	}
	inst, work, err := a.destination(ctx, in)
	if err != nil {
		return out, err
	}
	stop := beatEvery(ctx, 5*time.Second, beat.current)
	defer stop()
	intoDir := in.Sandbox.Dir == "" && inst.DataDir != ""
	if intoDir && !in.Delta {
		if done, ok, err := claim.ReadDone(work, inst.DataDir, what(in.Step)); err != nil {
			return out, err
		} else if ok && json.Unmarshal(done.Outcome, &out.Outcome) == nil {
			out.Before, out.Finished = done.At, time.Now().UTC()
			out.Findings, out.Outcome.Findings = out.Outcome.Findings, nil
			return out, nil
		}
	}
	out.Outcome, err = d.Restore(ctx, inst, targets.RestoreRequest{Base: in.Step.Base, Point: in.Step.Point,
		Path: in.Step.Path, Until: in.Step.Until, WorkDir: work, Delta: in.Delta, Progress: beat.progress},
		stream.NewSource(v, in.Step.Shard))
	if err != nil {
		return out, err
	}
	out.Address = out.Outcome.Address
	out.Finished = time.Now().UTC()
	switch {
	case in.Sandbox.Dir != "":
		err := a.remember(in, inst, out.Outcome)
		out.Findings, out.Outcome.Findings = out.Outcome.Findings, nil
		return out, err
	case intoDir:
		// The log of a large restore is not left beside somebody's data, but a
		// record by which a repeat sees that there is nothing to do.
		err = finished(work, inst.DataDir, in.Step, out)
	default:
		err = os.RemoveAll(work)
	}
	out.Findings, out.Outcome.Findings = out.Outcome.Findings, nil
	if err != nil {
		a.Log.Warn("the work directory of a restore could not be cleared", "dir", work, "err", err)
	}
	return out, nil
}

// check refuses a payload whose values must not become paths or arguments. A
// plan is data: nothing but this stands between who can start a workflow and
// the programs of this host.
func (in StepIn) check() error {
	const op = "restore: check the step"
	if in.PlanID != "" && vault.ValidName(in.PlanID) != nil {
		return fail.Newf(fail.Invalid, op, in.Step.Shard.String(), "plan %.80q is not a name", in.PlanID)
	}
	if err := in.Step.Check(time.Now()); err != nil {
		return fail.New(fail.Invalid, op, in.Step.Shard.String(), "make a new plan", err)
	}
	return in.Sandbox.check()
}

func finished(work, dir string, s plan.Step, out plan.StepOut) error {
	outcome, err := json.Marshal(out.Outcome)
	if err != nil {
		return err
	}
	return claim.WriteDone(work, claim.Done{Dir: dir, What: what(s), At: out.Finished, Outcome: outcome})
}

// what identifies what a step restores and where to.
func what(s plan.Step) string {
	b, _ := json.Marshal([]any{s.Shard, s.Base, s.Point, s.Path, s.Until, s.Into}) // plain values: it cannot fail
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func stepOut(ctx context.Context, in StepIn) plan.StepOut {
	return plan.StepOut{StepID: in.Step.ID, Shard: in.Step.Shard, Op: in.Step.Op, Started: time.Now().UTC(),
		Attempt: int(activity.GetInfo(ctx).Attempt)}
}

// destination resolves where a step restores to: a folder of the sandbox, or
// the instance that the plan names.
func (a *Activities) destination(ctx context.Context, in StepIn) (targets.Instance, string, error) {
	id := in.Step.Shard
	if in.Sandbox.Dir == "" {
		inst, err := a.credentials(ctx, in.Step)
		if err != nil {
			return inst, "", err
		}
		inst.Region, inst.Role = in.Step.Into.Region, targets.Primary
		inst.Address, inst.DataDir, inst.Prefix = in.Step.Into.Address, in.Step.Into.DataDir, ""
		if in.Step.Into.Bucket != "" {
			inst.Database = in.Step.Into.Bucket
		}
		work := inst.DataDir + ".drctl-restore"
		if inst.DataDir == "" {
			if in.PlanID == "" { // the directory is removed in the end
				return inst, "", fail.Newf(fail.Invalid, "restore: destination", id.String(), "the plan has no id")
			}
			work = filepath.Join(a.StateDir, "restore", in.PlanID, id.Target+"-"+id.Shard)
		}
		return inst, work, nil
	}
	box, err := sandbox.Open(in.Sandbox.Dir)
	if err != nil {
		return targets.Instance{}, "", err
	}
	work := shardDir(box, id)
	if in.Step.Op == plan.OpRestore && activity.GetInfo(ctx).Attempt > 1 {
		// An earlier attempt died half way: its servers and files go first.
		if err := box.Reset(ctx, filepath.Base(work)); err != nil {
			return targets.Instance{}, "", err
		}
	}
	if err := box.MkdirAll(work); err != nil {
		return targets.Instance{}, "", err
	}
	inst := targets.Instance{Kind: in.Step.Kind, Shard: id, Region: "sandbox", Role: targets.Sandbox, DataDir: filepath.Join(work, "data")}
	// The copy has the database or bucket of the original and its user. Without
	// a configuration the driver takes them from the base's record.
	for _, r := range a.Platform.Regions(id) {
		if of, err := a.Platform.Instance(ctx, id, r); err == nil {
			inst.Database, inst.Tables, inst.User = of.Database, of.Tables, of.User
			break
		}
	}
	if inst.Kind == targets.S3 {
		inst.User = "" // the sandbox's server gets a key of its own
		if inst.Database == "" {
			inst.Database = id.Target
		}
	}
	return inst, work, nil
}

// tables are those that a cut of the shard quiesces; none means all of them, also
// where there is no configuration.
func (a *Activities) tables(ctx context.Context, id targets.ShardID) []string {
	for _, r := range a.Platform.Regions(id) {
		if of, err := a.Platform.Instance(ctx, id, r); err == nil {
			return of.Tables
		}
	}
	return nil
}

// credentials resolves how an instance that the plan names is entered: as the
// shard's own instance in that region, or in any other when it has none there.
// Where there is no configuration nothing is known but its kind.
func (a *Activities) credentials(ctx context.Context, step plan.Step) (targets.Instance, error) {
	for _, r := range append([]string{step.Into.Region}, a.Platform.Regions(step.Shard)...) {
		inst, err := a.Platform.Instance(ctx, step.Shard, r)
		if !fail.Is(err, fail.NotFound) {
			return inst, err
		}
	}
	return targets.Instance{Kind: step.Kind, Shard: step.Shard}, nil
}

func shardDir(box *sandbox.Box, id targets.ShardID) string {
	return filepath.Join(box.Dir(), id.Target+"-"+id.Shard)
}

// Access is how a restored sandbox instance is reached; it stays in a file
// that only its owner reads.
type Access struct {
	Kind     targets.Kind    `json:"kind"`
	Shard    targets.ShardID `json:"shard"`
	Address  string          `json:"address"`
	User     string          `json:"user"`
	Password string          `json:"password"`
	Database string          `json:"database"`
	DataDir  string          `json:"data_dir"`
}

const accessFile = "access.json"

// remember keeps how the sandbox instance is reached.
func (a *Activities) remember(in StepIn, inst targets.Instance, o targets.Outcome) error {
	if in.Sandbox.Dir == "" {
		return nil
	}
	if o.Pid != 0 {
		box, err := sandbox.Open(in.Sandbox.Dir)
		if err != nil {
			return err
		}
		id, err := proc.Of(o.Pid)
		if err != nil {
			return fail.New(fail.Unavailable, "sandbox: record server", inst.String(), "", err)
		}
		if err := box.Add(servers.Server{Name: inst.Shard.String(), Kind: inst.Kind, ID: id, Dir: inst.DataDir, Address: o.Address}); err != nil {
			return err
		}
	}
	acc := Access{Kind: inst.Kind, Shard: inst.Shard, Address: o.Address, User: o.User,
		Password: o.Password.Reveal(), Database: inst.Database, DataDir: inst.DataDir}
	if o.Database != "" {
		acc.Database = o.Database
	}
	b, err := json.MarshalIndent(acc, "", "  ")
	if err != nil {
		return fail.New(fail.Internal, "sandbox: remember", inst.String(), "", err)
	}
	p := filepath.Join(in.Sandbox.Dir, inst.Shard.Target+"-"+inst.Shard.Shard, accessFile)
	return fail.FromOS("sandbox: remember", p, atomicfile.Write(p, b, 0o600))
}

// ReadAccess reads how the restored shard in a sandbox's folder is reached.
func ReadAccess(dir string) (Access, error) {
	p := filepath.Join(dir, accessFile)
	b, err := os.ReadFile(p)
	if err != nil {
		code := fail.Internal
		if errors.Is(err, os.ErrNotExist) {
			code = fail.NotFound
		}
		return Access{}, fail.New(code, "sandbox: open", p, "the shard was not restored into this sandbox", err)
	}
	var acc Access
	if err := json.Unmarshal(b, &acc); err != nil {
		return Access{}, fail.New(fail.Corrupt, "sandbox: open", p, "", err)
	}
	return acc, nil
}

// SandboxInstance resolves a restored shard in a sandbox.
func SandboxInstance(dir string, id targets.ShardID) (targets.Instance, error) {
	acc, err := ReadAccess(filepath.Join(dir, id.Target+"-"+id.Shard))
	if err != nil {
		return targets.Instance{}, err
	}
	return targets.Instance{Kind: acc.Kind, Shard: acc.Shard, Region: "sandbox", Role: targets.Sandbox, Address: acc.Address,
		User: acc.User, Password: targets.NewSecret(acc.Password), Database: acc.Database, DataDir: acc.DataDir}, nil
}

// notVerified says of an instance that the restore left stopped that its
// checks, which need a running server, are the operator's.
func notVerified(in targets.Instance) targets.Finding {
	do := "start the server and look at what is in it"
	switch in.Kind {
	case targets.Postgres:
		do = "before the server is started: pg_checksums --check -D " + in.DataDir + "; after: pg_amcheck --all --heapallindexed --parent-check --install-missing"
	case targets.Redis:
		do = "redis-check-aof on the manifest, or redis-check-rdb on the image, that lies in " + in.DataDir + "; then start the server as the restore says"
	}
	return targets.Finding{Check: "verification", Subject: in.String(), Severity: targets.Skipped,
		Detail: "not verified: the restore proved that replay came to the point and left the server stopped. To do: " + do}
}

// VerifyShard runs the driver's checks on a restored shard.
func (a *Activities) VerifyShard(ctx context.Context, in StepIn) (plan.StepOut, error) {
	out, err := a.verifyShard(ctx, in)
	return out, engine.EncodeAttempt(err, int(activity.GetInfo(ctx).Attempt))
}

func (a *Activities) verifyShard(parent context.Context, in StepIn) (plan.StepOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	out := stepOut(ctx, in)
	if err := in.check(); err != nil {
		return out, err
	}
	d, err := a.driver(in.Step.Kind)
	if err != nil {
		return out, err
	}
	var inst targets.Instance
	if in.Sandbox.Dir != "" {
		inst, err = SandboxInstance(in.Sandbox.Dir, in.Step.Shard)
		inst.Tables = a.tables(ctx, in.Step.Shard)
	} else {
		inst, _, err = a.destination(ctx, in)
	}
	if err != nil {
		return out, err
	}
	if in.Sandbox.Dir == "" && in.Step.Kind != targets.S3 {
		out.Findings = []targets.Finding{notVerified(inst)}
		out.Finished = time.Now().UTC()
		return out, nil
	}
	want := targets.Expectation{Quick: in.Quick, Assertions: in.Assertions, Instant: !in.Step.Until.IsZero(), DataDir: inst.DataDir}
	if in.Step.Kind == targets.S3 {
		v, err := a.Platform.Vault(ctx, in.Vault)
		if err != nil {
			return out, err
		}
		src := stream.NewSource(v, in.Step.Shard)
		want.Manifest = func(ctx context.Context) (io.ReadCloser, error) { return src.Manifest(ctx, in.Step.Point.Manifest) }
	}
	beat := newBeater(ctx, in.Step.Shard)
	want.Progress = beat.progress
	stop := beatEvery(ctx, 5*time.Second, beat.current)
	defer stop()
	out.Findings, err = d.Verify(ctx, inst, want)
	// The checks compare with what the cut holds; what it lacks is said beside them.
	for _, w := range in.Step.Warnings {
		out.Findings = append(out.Findings, targets.Finding{Check: "cut", Subject: in.Step.Shard.String(), Severity: targets.Warned, Detail: w})
	}
	out.Finished = time.Now().UTC()
	return out, err
}
