package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/targets"
)

// minPrefix is the shortest beginning of a hash that names a saved run, so that
// nobody finds one by chance.
const minPrefix = 8

// makeAnother is what helps when a saved run cannot be used.
const makeAnother = "make a new plan with: drctl restore plan --save"

// KeepRun stores a run in a vault, where SavedRun finds it by its hash. Other
// than SaveRun it fails when the vault does not take it.
func KeepRun(ctx context.Context, v *vault.Vault, run plan.Run) error {
	_, err := save(ctx, vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}, run)

	return err
}

// SavedRun reads the run whose hash is the given one, or begins with it. Errors:
// fail.NotFound when the vault holds none; fail.Invalid when the beginning is too
// short or means several; fail.Corrupt when what lies there has another hash.
func SavedRun(ctx context.Context, v *vault.Vault, hash string) (plan.Run, error) {
	const op = "plan: find"
	if len(hash) < minPrefix {
		return plan.Run{}, fail.New(fail.Invalid, op, hash, "give the hash that drctl restore plan --save printed", fmt.Errorf("fewer than %d characters of it do not name a plan", minPrefix))
	}

	hashes, err := v.Reports(ctx, runReport)
	if err != nil {
		return plan.Run{}, err
	}
	hashes = slices.DeleteFunc(hashes, func(h string) bool { return !strings.HasPrefix(h, hash) })

	switch len(hashes) {
	case 0:
		return plan.Run{}, fail.New(fail.NotFound, op, hash, makeAnother, fmt.Errorf("there is no such plan in the vault of %s", v.Region()))
	case 1:
	default:
		return plan.Run{}, fail.New(fail.Invalid, op, hash, "give more of the hash", fmt.Errorf("%d plans in the vault of %s begin like that", len(hashes), v.Region()))
	}

	var run plan.Run
	if err := v.Report(ctx, runReport, hashes[0], &run); err != nil {
		return plan.Run{}, err
	}

	if run.Hash != hashes[0] {
		return plan.Run{}, fail.New(fail.Corrupt, op, hash, makeAnother, fmt.Errorf("the vault of %s holds another plan under this hash", v.Region()))
	}

	return run, whole(run)
}

// SavedAnywhere looks for a plan in the vaults of all regions. The error of a
// vault that cannot be asked, or is damaged, counts only when no other holds the
// plan.
func SavedAnywhere(ctx context.Context, regions []string, open func(context.Context, string) (*vault.Vault, error), hash string) (found plan.Run, err error) {
	var missing, other error
	for _, region := range regions {
		v, err := open(ctx, region)

		var run plan.Run
		if err == nil {
			run, err = SavedRun(ctx, v, hash)
		}

		switch {
		case err == nil && found.Hash != "" && found.Hash != run.Hash:
			return plan.Run{}, fail.New(fail.Invalid, "plan: find", hash, "give more of the hash", errors.New("plans in several vaults begin like that"))
		case err == nil:
			found = run
		case fail.Is(err, fail.NotFound):
			missing = err
		case fail.Is(err, fail.Invalid):
			return plan.Run{}, err
		case other == nil:
			other = err
		}
	}

	if found.Hash != "" {
		return found, nil
	}

	if other != nil {
		return plan.Run{}, other
	}

	return plan.Run{}, missing
}

// RunFromJSON reads a run as drctl restore plan --json prints it.
func RunFromJSON(r io.Reader, name string) (plan.Run, error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()

	var run plan.Run
	if err := d.Decode(&run); err != nil {
		return plan.Run{}, fail.New(fail.Invalid, "plan: read", name, "make one with: drctl restore plan --json", err)
	}

	return run, whole(run)
}

// whole refuses a run that is not what its hash says, or has a step that no plan has.
func whole(run plan.Run) error {
	if run.Hash != run.Sum() {
		return fail.New(fail.Corrupt, "plan: check", run.ID, makeAnother, errors.New("the plan has been changed since its hash was made"))
	}

	if len(run.Steps) == 0 {
		return fail.New(fail.Invalid, "plan: check", run.ID, makeAnother, errors.New("the plan has no steps"))
	}

	for _, s := range run.Steps {
		if err := s.Check(time.Now()); err != nil {
			return fail.New(fail.Invalid, "plan: check", run.ID+", step "+s.ID, makeAnother, err)
		}
	}

	return nil
}

// StillHeld makes sure that the vault holds the cut, the bases and the manifests
// that a run made earlier is bound to. What has gone is fail.NotFound. The stream
// between base and point is read, and what it lacks found, by the run itself.
func StillHeld(ctx context.Context, v *vault.Vault, run plan.Run) error {
	gone := func(what string, err error) error {
		if err == nil {
			return nil
		}

		if !fail.Is(err, fail.NotFound) {
			return err
		}

		return fail.New(fail.NotFound, "plan: check", run.ID, makeAnother, fmt.Errorf("%s is no longer in the vault of %s", what, v.Region()))
	}

	// A moment that was found for the run is in no vault: the run has all of it.
	if run.Cut.ID != "" && run.Goal.Moment.IsZero() {
		if _, err := v.Cut(ctx, run.Goal.Group, run.Cut.ID); err != nil {
			return gone("cut "+run.Cut.ID, err)
		}
	}

	for _, s := range run.Steps {
		switch {
		case s.Op != plan.OpRestore:
		case s.Kind == targets.S3:
			if err := gone("the manifest of "+s.Shard.String(), heldManifest(ctx, v, s)); err != nil {
				return err
			}
		default:
			if err := gone("base "+s.Base.ID, heldBase(ctx, v, s.Base)); err != nil {
				return err
			}
		}
	}

	return nil
}

// heldBase makes sure that a base is in the vault as the run knows it.
func heldBase(ctx context.Context, v *vault.Vault, want targets.Artifact) error {
	got, err := v.Base(ctx, want.Shard, want.ID)
	if err != nil {
		return err
	}

	if !slices.Equal(vault.SnapshotsOf(got), vault.SnapshotsOf(want)) {
		return fail.New(fail.Corrupt, "plan: check", want.ID, makeAnother, fmt.Errorf("the vault of %s holds another base under this id", v.Region()))
	}

	return nil
}

// heldManifest makes sure that the manifest of a step is in the vault.
func heldManifest(ctx context.Context, v *vault.Vault, s plan.Step) error {
	for i, err := range v.Store().List(ctx, vault.ManifestsPrefix(s.Shard), "") {
		if err != nil {
			return err
		}

		if _, _, sha, ok := vault.ParseManifestKey(i.Key); ok && sha == s.Point.Manifest {
			return nil
		}
	}

	return fail.Newf(fail.NotFound, "plan: check", s.Shard.String(), "there is no manifest %.12s", s.Point.Manifest)
}
