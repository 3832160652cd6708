package activities

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.temporal.io/sdk/activity"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/platform"
	"drctl/internal/proc"
	"drctl/internal/sandbox"
	"drctl/internal/sandbox/claim"
	"drctl/internal/servers"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/targets"
)

// RestoreShard is LayDown as an activity.
func (a *Activities) RestoreShard(ctx context.Context, in StepIn) (plan.StepOut, error) {
	out, err := a.LayDown(ctx, in)
	return out, engine.EncodeAttempt(err, int(activity.GetInfo(ctx).Attempt))
}

// LayDown lays one shard down and brings it to its point, within an activity.
func (a *Activities) LayDown(ctx context.Context, named StepIn) (plan.StepOut, error) {
	ctx, cancel := stoppable(ctx)
	defer cancel(nil)
	in, err := a.bind(ctx, named)

	out := stepOut(ctx, in)
	if err != nil {
		return out, err
	}
	beat := newBeater(ctx, in.step.Shard)
	beat.progress("start", 0, in.step.BaseBytes+in.step.StreamBytes)

	d, err := a.driver(in.step.Kind)
	if err != nil {
		return out, err
	}

	v, err := a.Platform.Vault(ctx, in.vault)
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
	if intoDir && !in.delta {
		if done, ok, err := claim.ReadDone(work, inst.DataDir, in.step.Fingerprint()); err != nil {
			return out, err
		} else if ok && json.Unmarshal(done.Outcome, &out.Outcome) == nil {
			out.Before, out.Finished = done.At, time.Now().UTC()
			out.Findings, out.Outcome.Findings = out.Outcome.Findings, nil

			return out, nil
		}
	}

	out.Outcome, err = d.Restore(ctx, inst, targets.RestoreRequest{Base: in.step.Base, Point: in.step.Point,
		Path: in.step.Path, Until: in.step.Until, InDoubt: in.step.InDoubt, InDoubtSince: in.step.InDoubtSince,
		WorkDir: work, Delta: in.delta, Progress: beat.progress},
		stream.NewSource(v, in.step.Shard))
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
		err = finished(work, inst.DataDir, in.step, out)
	default:
		err = os.RemoveAll(work)
	}

	out.Findings, out.Outcome.Findings = out.Outcome.Findings, nil
	if err != nil {
		a.Log.WarnContext(ctx, "the work directory of a restore could not be cleared", "dir", work, "err", err)
	}

	return out, nil
}

// boundStep is a step with what the run that it belongs to says of it.
type boundStep struct {
	StepIn
	planID, vault string
	delta         bool
	step          plan.Step
}

// bind reads the run that a step belongs to and takes the step from it.
func (a *Activities) bind(ctx context.Context, in StepIn) (boundStep, error) {
	b := boundStep{StepIn: in, step: plan.Step{ID: in.StepID}}

	run, err := a.run(ctx, in.Run)
	if err != nil {
		return b, err
	}

	s, ok := run.Step(in.StepID)
	if !ok {
		return b, fail.Newf(fail.Invalid, "restore: find the step", in.StepID, "plan %.80q has no such step", run.ID)
	}

	logs.Note(ctx, logs.Shard, s.Shard.String())

	b.planID, b.vault, b.delta, b.step = run.ID, run.Goal.Vault, run.Goal.Delta, s
	if err := b.check(); err != nil {
		return b, err
	}

	return b, platform.Placed(a.Host, s.Into.Host, s.ID)
}

// run reads a carried run, which the steps of one plan share.
func (a *Activities) run(ctx context.Context, c plan.Carried) (plan.Run, error) {
	stop := beatEvery(ctx, 5*time.Second, func() engine.Beat { return engine.Beat{Phase: "plan"} })
	defer stop()

	return a.runs.Load(ctx, a.Platform.Vault, c)
}

// check refuses a payload whose values must not become paths or arguments. A
// plan is data: nothing but this stands between who can start a workflow and
// the programs of this host.
func (in boundStep) check() error {
	const op = "restore: check the step"
	if in.planID != "" && vault.ValidName(in.planID) != nil {
		return fail.Newf(fail.Invalid, op, in.step.Shard.String(), "plan %.80q is not a name", in.planID)
	}

	if err := in.step.Check(time.Now()); err != nil {
		return fail.New(fail.Invalid, op, in.step.Shard.String(), "make a new plan", err)
	}

	return in.Sandbox.Check()
}

func finished(work, dir string, s plan.Step, out plan.StepOut) error {
	outcome, err := json.Marshal(out.Outcome)
	if err != nil {
		return err
	}

	return claim.WriteDone(work, claim.Done{Dir: dir, What: s.Fingerprint(), At: out.Finished, Outcome: outcome})
}

func stepOut(ctx context.Context, in boundStep) plan.StepOut {
	return plan.StepOut{StepID: in.step.ID, Shard: in.step.Shard, Op: in.step.Op, Started: time.Now().UTC(),
		Attempt: int(activity.GetInfo(ctx).Attempt)}
}

// destination resolves where a step restores to: a folder of the sandbox, or
// the instance that the plan names.
func (a *Activities) destination(ctx context.Context, in boundStep) (targets.Instance, string, error) {
	id := in.step.Shard
	if in.Sandbox.Dir == "" {
		inst, err := a.credentials(ctx, in.step)
		if err != nil {
			return inst, "", err
		}
		inst.Region, inst.Role = in.step.Into.Region, targets.Primary

		inst.Address, inst.DataDir, inst.Prefix = in.step.Into.Address, in.step.Into.DataDir, ""
		if in.step.Into.Bucket != "" {
			inst.Database = in.step.Into.Bucket
		}

		work := inst.DataDir + ".drctl-restore"
		if inst.DataDir == "" {
			if in.planID == "" { // the directory is removed in the end
				return inst, "", fail.Newf(fail.Invalid, "restore: destination", id.String(), "the plan has no id")
			}
			work = filepath.Join(a.StateDir, "restore", in.planID, id.Target+"-"+id.Shard)
		}

		return inst, work, nil
	}

	box, err := sandbox.Open(in.Sandbox.Dir)
	if err != nil {
		return targets.Instance{}, "", err
	}

	work := shardDir(box, id)
	if in.step.Op == plan.OpRestore && activity.GetInfo(ctx).Attempt > 1 {
		// An earlier attempt died half way: its servers and files go first.
		if err := box.Reset(ctx, filepath.Base(work)); err != nil {
			return targets.Instance{}, "", err
		}
	}

	if err := box.MkdirAll(work); err != nil {
		return targets.Instance{}, "", err
	}
	inst := targets.Instance{Kind: in.step.Kind, Shard: id, Region: "sandbox", Role: targets.Sandbox, DataDir: filepath.Join(work, "data")}
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

// remember keeps how the sandbox instance is reached.
func (a *Activities) remember(in boundStep, inst targets.Instance, o targets.Outcome) error {
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

	acc := sandbox.Access{Kind: inst.Kind, Shard: inst.Shard, Address: o.Address, User: o.User,
		Password: o.Password.Reveal(), Database: inst.Database, DataDir: inst.DataDir}
	if o.Database != "" {
		acc.Database = o.Database
	}

	return sandbox.WriteAccess(filepath.Join(in.Sandbox.Dir, inst.Shard.Target+"-"+inst.Shard.Shard), acc)
}

// notVerified says of an instance that the restore left stopped that its
// checks, which need a running server, are the operator's.
func notVerified(d targets.Driver, in targets.Instance) targets.Finding {
	do := "start the server and look at what is in it"
	if a, ok := d.(targets.Adviser); ok {
		do = a.Advise(in)
	}

	return targets.Finding{Check: "verification", Subject: in.String(), Severity: targets.Skipped,
		Detail: "not verified: the restore proved that replay came to the point and left the server stopped. To do: " + do}
}

// VerifyShard runs the driver's checks on a restored shard.
func (a *Activities) VerifyShard(ctx context.Context, in StepIn) (plan.StepOut, error) {
	out, err := a.verifyShard(ctx, in)
	return out, engine.EncodeAttempt(err, int(activity.GetInfo(ctx).Attempt))
}

func (a *Activities) verifyShard(parent context.Context, named StepIn) (plan.StepOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	in, err := a.bind(ctx, named)

	out := stepOut(ctx, in)
	if err != nil {
		return out, err
	}

	d, err := a.driver(in.step.Kind)
	if err != nil {
		return out, err
	}

	var inst targets.Instance
	if in.Sandbox.Dir != "" {
		inst, err = sandbox.Restored(in.Sandbox.Dir, in.step.Shard)
		inst.Tables = a.tables(ctx, in.step.Shard)
	} else {
		inst, _, err = a.destination(ctx, in)
	}

	if err != nil {
		return out, err
	}

	if in.Sandbox.Dir == "" && in.step.Kind.Traits().Files {
		out.Findings = []targets.Finding{notVerified(d, inst)}
		out.Finished = time.Now().UTC()

		return out, nil
	}

	want := targets.Expectation{Quick: in.Quick, Assertions: in.Assertions, Instant: !in.step.Until.IsZero(), DataDir: inst.DataDir,
		InDoubt: in.step.InDoubt, InDoubtSince: in.step.InDoubtSince}
	if in.step.Kind.Traits().Manifest {
		v, err := a.Platform.Vault(ctx, in.vault)
		if err != nil {
			return out, err
		}
		src := stream.NewSource(v, in.step.Shard)
		want.Manifest = func(ctx context.Context) (io.ReadCloser, error) { return src.Manifest(ctx, in.step.Point.Manifest) }
	}
	beat := newBeater(ctx, in.step.Shard)
	want.Progress = beat.progress

	stop := beatEvery(ctx, 5*time.Second, beat.current)
	defer stop()
	out.Findings, err = d.Verify(ctx, inst, want)
	// The checks compare with what the cut holds; what it lacks is said beside them.
	for _, w := range in.step.Warnings {
		out.Findings = append(out.Findings, targets.Finding{Check: "cut", Subject: in.step.Shard.String(), Severity: targets.Warned, Detail: w})
	}
	out.Finished = time.Now().UTC()

	return out, err
}
