package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"drctl/drills"
	"drctl/internal/atomicfile"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/report"
	"drctl/internal/report/evidence"
	"drctl/internal/vault"
	"drctl/restore/plan"
)

// The kinds of reports in a vault that a drill leaves.
const (
	drillReport = "drill"
	planReport  = "drill-plan"
)

// planFile is the name under which the plan is attached.
const planFile = "plan.json"

// storeAttempts is how often storing a report is tried before the files on the
// worker's host have to do: a drill whose vaults are gone leaves a report too.
const storeAttempts = 3

// FinishDrill writes the record of a drill, whatever came of it, to this
// worker's state directory and to every vault that can be reached. A repeat
// finds the record that the first call stored.
func (a *Activities) FinishDrill(ctx context.Context, in FinishIn) (drills.Outcome, error) {
	info := activity.GetInfo(ctx)

	runs, err := engine.ActivityRuns(ctx, activity.GetClient(ctx), info.WorkflowExecution.ID, info.WorkflowExecution.RunID)
	if err != nil && info.Attempt < storeAttempts {
		return drills.Outcome{}, engine.EncodeError(err)
	}

	if err := a.complete(ctx, &in, runs, int(info.Attempt)); err != nil {
		return drills.Outcome{}, engine.EncodeError(err)
	}

	out, err := a.finishDrill(ctx, in, int(info.Attempt), whoRan(runs))
	if out.Problem == "" || len(out.Record) > maxRecord {
		out.Record = nil // the vaults have it, or the file alone
	}

	return out, engine.EncodeError(err)
}

// maxRecord is how long a record may be, in bytes, that crosses the engine: far
// below the engine's limit of 2 MiB.
const maxRecord = 256 << 10

// complete adds what did not cross the engine: the plan, and what each step
// found. What cannot be read in the end is an error of the drill, which so has
// not passed.
func (a *Activities) complete(ctx context.Context, in *FinishIn, runs []engine.ActivityRun, attempt int) error {
	if !in.Carried.IsZero() {
		run, err := a.run(ctx, in.Carried)
		if err != nil && attempt < storeAttempts {
			return err
		}

		if err != nil {
			run = plan.Run{ID: in.Carried.Ref.ID, Hash: in.Carried.Ref.SHA256}
			in.Errors = append(in.Errors, "the plan could not be read again: "+err.Error())
		}
		in.Plan = run
	}

	missing := Detail(in.Steps, runs)
	if in.Cross.StepID != "" {
		cross := []plan.StepOut{in.Cross}
		missing = append(missing, Detail(cross, runs)...)
		in.Cross = cross[0]
	}

	if len(missing) > 0 {
		in.Errors = append(in.Errors, "the engine's history lacks what was found by "+strings.Join(missing, ", "))
	}

	return nil
}

// Detail gives steps back what did not cross the engine with them, from the
// history of the run that did them, and returns those of which there is none.
func Detail(steps []plan.StepOut, runs []engine.ActivityRun) (missing []string) {
	full := map[string]plan.StepOut{}
	for _, r := range runs {
		var out plan.StepOut
		switch r.Name {
		case RestoreShardName, VerifyShardName, CrossCheckName:
			if r.Result(&out) == nil {
				full[out.StepID] = out
			}
		}
	}

	for i, s := range steps {
		f, ok := full[s.StepID]
		switch {
		case s.Error != "": // it has no result
		case ok:
			steps[i] = s.Detailed(f)
		default:
			missing = append(missing, s.StepID)
		}
	}

	return missing
}

func (a *Activities) finishDrill(ctx context.Context, in FinishIn, attempt int, ran map[string]engine.ActivityRun) (drills.Outcome, error) {
	stop := beatEvery(ctx, 2*time.Second, func() engine.Beat { return engine.Beat{Phase: "report"} })
	defer stop()
	set, vaultErr := a.reportSet(ctx, in)

	var read *vault.Vault // the vault that the drill read, when it is there
	if vaultErr == nil && set.Vaults[0].Region() == in.Drill.Vault {
		read = set.Vaults[0]
	}

	plan, err := planDoc(in)
	if err != nil {
		return drills.Outcome{}, err
	}

	rec, doc, err := evidence.Finalize(drills.Record(a.facts(ctx, in, read, plan, ran)))
	if err != nil {
		return drills.Outcome{}, err
	}

	if err := vault.ValidName(rec.ID); err != nil { // it becomes the name of files
		return drills.Outcome{}, err
	}
	out := drills.Outcome{}

	err = vaultErr
	if err == nil {
		rec, doc, err = saveRecord(ctx, set, rec, doc, plan)
	}

	switch {
	case err == nil:
		for _, v := range set.Vaults {
			out.Vaults = append(out.Vaults, v.Region())
		}
	case fail.Retryable(err) && attempt < storeAttempts:
		return out, err
	case fail.Is(err, fail.Conflict):
		return out, err // somebody else's record lies under this name
	default:
		a.Log.ErrorContext(ctx, "a drill's report is in no vault", "report", rec.ID, "err", err)
		out.Problem = err.Error()
	}

	out.ID, out.Passed, out.SHA256, out.Record = rec.ID, rec.Verdict.Passed, rec.ContentSHA256, doc
	if in.Sandbox.Dir != "" && (in.Keep || !in.KeptUntil.IsZero()) {
		out.Sandbox = in.Sandbox.Dir
	}

	return out, a.writeReport(&out, rec, plan)
}

// writeReport writes the record, the page and the plan to the state directory.
func (a *Activities) writeReport(out *drills.Outcome, rec evidence.Record, plan []byte) error {
	const op = "drill: write report"

	dir := filepath.Join(a.StateDir, "reports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fail.FromOS(op, dir, err)
	}

	out.JSON, out.HTML = filepath.Join(dir, rec.ID+".json"), filepath.Join(dir, rec.ID+".html")
	if err := atomicfile.Write(out.JSON, out.Record, 0o644); err != nil {
		return fail.FromOS(op, out.JSON, err)
	}

	if plan != nil {
		path := filepath.Join(dir, rec.ID+"-"+planFile)
		if err := atomicfile.Write(path, plan, 0o644); err != nil {
			return fail.FromOS(op, path, err)
		}
	}

	return fail.FromOS(op, out.HTML, atomicfile.Replace(out.HTML, 0o644, func(f *os.File) error { return report.HTML(f, rec) }))
}

// reportSet is the vault that was read, first, and those of the other regions
// when they are there. Without the vault that was read the others have to do.
func (a *Activities) reportSet(ctx context.Context, in FinishIn) (vault.Set, error) {
	set := vault.Set{Durability: 1}

	v, err := a.Platform.Vault(ctx, in.Drill.Vault)
	if err == nil {
		set.Vaults = []*vault.Vault{v}
	}

	if more, merr := a.Platform.Set(ctx, in.Drill.Group, in.Drill.Vault); merr == nil {
		for _, o := range more.Vaults {
			if v == nil || o.Region() != v.Region() {
				set.Vaults = append(set.Vaults, o)
			}
		}
	}

	if len(set.Vaults) == 0 {
		return set, err
	}

	return set, nil
}

// planDoc is the plan as it is attached and stored; nil when there is none.
func planDoc(in FinishIn) ([]byte, error) {
	if in.Plan.ID == "" {
		return nil, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ") // as the vault writes its records: the hash holds for both

	if err := e.Encode(in.Plan); err != nil {
		return nil, fail.New(fail.Internal, "drill: attach the plan", in.Plan.ID, "", err)
	}

	return b.Bytes(), nil
}

// saveRecord stores the plan and then the record that refers to it. When an
// earlier attempt stored a record already, that one counts.
func saveRecord(ctx context.Context, set vault.Set, rec evidence.Record, doc, plan []byte) (evidence.Record, []byte, error) {
	if plan != nil {
		if _, err := set.SaveReport(ctx, planReport, rec.ID, json.RawMessage(plan)); err != nil {
			return rec, doc, err
		}
	}
	// Looked for first, so that no vault that lacks it gets another one.
	stored, old, err := storedRecord(ctx, set, rec)
	if err != nil {
		return rec, doc, err
	}

	if old != nil {
		rec, doc = stored, old
	}
	_, err = set.SaveReport(ctx, drillReport, rec.ID, json.RawMessage(doc))

	return rec, doc, err
}

// storedRecord reads back what an earlier attempt stored of the same drill; nil
// when none did. A vault that cannot be read is as one that lacks it, unless
// all are like that.
func storedRecord(ctx context.Context, set vault.Set, rec evidence.Record) (evidence.Record, []byte, error) {
	var errs []error
	for _, v := range set.Vaults {
		var doc json.RawMessage

		err := v.Report(ctx, drillReport, rec.ID, &doc)
		if fail.Is(err, fail.NotFound) {
			continue
		}

		if err != nil && fail.Retryable(err) {
			errs = append(errs, err)
			continue
		}

		var old evidence.Record
		if err == nil {
			old, err = evidence.Verify(doc)
		}

		if err == nil && (old.ID != rec.ID || old.Name != rec.Name || !old.Started.Equal(rec.Started) || old.Plan.ID != rec.Plan.ID || old.Plan.SHA256 != rec.Plan.SHA256) {
			err = fail.Newf(fail.Conflict, "drill: write report", rec.ID, "the vault of %s holds another drill's record under this name", v.Region())
		}

		if err != nil {
			return rec, nil, err
		}

		return old, doc, nil
	}

	if len(errs) == len(set.Vaults) {
		return rec, nil, errors.Join(errs...)
	}

	return rec, nil, nil
}

// frequency puts the policy's intervals into words.
func frequency(p platform.Policy) string {
	every := func(what string, d time.Duration) string {
		if d <= 0 {
			return what + " by hand only"
		}

		return fmt.Sprintf("%s every %s", what, d)
	}

	s := every("a cut", p.CutEvery) + ", " + every("a base", p.BaseEvery) + ", " + every("a check of the vaults", p.CheckEvery)
	if p.ChunkAge > 0 {
		s += fmt.Sprintf("; logs are streamed without a pause, in chunks of at most %s", p.ChunkAge)
	}

	return s
}
