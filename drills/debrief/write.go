package debrief

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"drctl/drills"
	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/report"
	"drctl/internal/report/evidence"
	"drctl/internal/vault"
)

// The kinds of reports in a vault that a drill leaves.
const (
	drillReport = "drill"
	planReport  = "drill-plan"
)

// planFile is the name under which the plan is attached.
const planFile = "plan.json"

// Writer writes the records of drills.
type Writer struct {
	Platform platform.Resolver
	StateDir string // with a folder reports
	// Version and Commit are of this build; Commit may be "".
	Version, Commit string
	Log             *slog.Logger
}

// Finish writes the record of a drill, whatever came of it, to the state directory
// and to every vault that can be reached. ran says who ran which step, where that
// is known. When again says that the caller calls again after an error, one that
// a later call may not meet is returned; else the files have to do: a drill whose
// vaults are gone leaves a report too. A repeat finds the record that the first
// call stored. Errors: conflict when another drill's record lies under the name.
func (w *Writer) Finish(ctx context.Context, in Seen, ran map[string]Ran, again bool) (drills.Outcome, error) {
	set, vaultErr := w.reportSet(ctx, in)

	var read *vault.Vault // the vault that the drill read, when it is there
	if vaultErr == nil && set.Vaults[0].Region() == in.Drill.Vault {
		read = set.Vaults[0]
	}

	plan, err := planDoc(in)
	if err != nil {
		return drills.Outcome{}, err
	}

	rec, doc, err := evidence.Finalize(drills.Record(w.facts(ctx, in, read, plan, ran)))
	if err != nil {
		return drills.Outcome{}, err
	}

	if err := vault.ValidName(rec.ID); err != nil { // it becomes the name of files
		return drills.Outcome{}, err
	}

	out, err := w.keep(ctx, set, vaultErr, rec, doc, plan, again)
	if in.Sandbox.Dir != "" && (in.Keep || !in.KeptUntil.IsZero()) {
		out.Sandbox = in.Sandbox.Dir
	}

	return out, err
}

// keep stores a record in the vaults of a set and in the state directory. vaultErr is why there is no set.
func (w *Writer) keep(ctx context.Context, set vault.Set, vaultErr error, rec evidence.Record, doc, plan []byte, again bool) (drills.Outcome, error) {
	out := drills.Outcome{}

	err := vaultErr
	if err == nil {
		rec, doc, err = saveRecord(ctx, set, rec, doc, plan)
	}

	switch {
	case err == nil:
		for _, v := range set.Vaults {
			out.Vaults = append(out.Vaults, v.Region())
		}
	case fail.Retryable(err) && again:
		return out, err
	case fail.Is(err, fail.Conflict):
		return out, err // somebody else's record lies under this name
	default:
		w.Log.ErrorContext(ctx, "a drill's report is in no vault", "report", rec.ID, "err", err)
		out.Problem = err.Error()
	}

	out.ID, out.Passed, out.SHA256, out.Record = rec.ID, rec.Verdict.Passed, rec.ContentSHA256, doc

	return out, w.writeReport(&out, rec, plan)
}

// writeReport writes the record, the page and the plan to the state directory.
func (w *Writer) writeReport(out *drills.Outcome, rec evidence.Record, plan []byte) error {
	const op = "drill: write report"

	dir := filepath.Join(w.StateDir, "reports")
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
func (w *Writer) reportSet(ctx context.Context, in Seen) (vault.Set, error) {
	set := vault.Set{Durability: 1}

	v, err := w.Platform.Vault(ctx, in.Drill.Vault)
	if err == nil {
		set.Vaults = []*vault.Vault{v}
	}

	if more, merr := w.Platform.Set(ctx, in.Drill.Group, in.Drill.Vault); merr == nil {
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
func planDoc(in Seen) ([]byte, error) {
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
