package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/plan"
)

// runReport is the kind of report under which a vault keeps runs, by their hash.
const runReport = "plan"

// maxCarried is how large a run may be, in bytes of JSON, that crosses the engine
// whole: far below the engine's limit of 2 MiB for what one call carries.
const maxCarried = 256 << 10

// SaveRun stores a run in the vaults of a set, so that the engine carries only
// its name. One vault is enough.
//
// A vault that takes no writes (locked, or opened to read) keeps nobody from
// recovering: a small run is then carried whole. A large one is refused with what
// the vaults said.
func SaveRun(ctx context.Context, set vault.Set, run plan.Run) (plan.Carried, error) {
	held, err := save(ctx, set, run)
	if len(held) > 0 {
		return plan.Carried{Ref: plan.Ref{ID: run.ID, SHA256: run.Hash, Vaults: held}}, nil
	}

	b, jerr := json.Marshal(run)
	if jerr != nil {
		return plan.Carried{}, fail.New(fail.Internal, "plan: store", run.ID, "", jerr)
	}

	if len(b) > maxCarried {
		return plan.Carried{}, fail.New(fail.CodeOf(err), "plan: store", run.ID, "let this drctl write to a vault, or restore fewer shards at once (--shard, --target)",
			fmt.Errorf("the plan has %d KiB, too much for the engine, and no vault took it: %w", len(b)>>10, err))
	}

	return plan.Carried{Whole: &run}, nil
}

// save returns the regions whose vaults hold the run.
func save(ctx context.Context, set vault.Set, run plan.Run) (held []string, err error) {
	var errs []error
	for _, v := range set.Vaults {
		one := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}
		if _, err := one.SaveReport(ctx, runReport, run.Hash, run); err != nil {
			errs = append(errs, err)
			continue
		}
		held = append(held, v.Region())
	}

	return held, errors.Join(errs...)
}

// LoadRun reads a carried run. Nothing that a vault holds is believed: the run
// has the hash and the id that it is named by, or it is not returned.
func LoadRun(ctx context.Context, open func(context.Context, string) (*vault.Vault, error), c plan.Carried) (plan.Run, error) {
	if c.Whole != nil {
		return *c.Whole, nil
	}

	errs := make([]error, 0, len(c.Ref.Vaults))
	for _, region := range c.Ref.Vaults {
		v, err := open(ctx, region)
		if err == nil {
			var run plan.Run
			if run, err = loadRun(ctx, v, c.Ref); err == nil {
				return run, nil
			}
		}
		errs = append(errs, err)
	}

	if len(errs) == 0 {
		errs = append(errs, errors.New("no vault is said to hold it"))
	}

	return plan.Run{}, fail.New(fail.CodeOf(errs[0]), "plan: read", c.Ref.ID, "", errors.Join(errs...))
}

// maxRuns is how many runs are remembered.
const maxRuns = 8

// Runs remembers runs that were read, whose hashes were checked, so that the steps
// of a plan on one worker read it once. The zero value is empty; it may be shared.
type Runs struct {
	mu   sync.Mutex
	read map[string]plan.Run
}

// Load is LoadRun, or what it returned before. Others wait while one reads.
func (r *Runs) Load(ctx context.Context, open func(context.Context, string) (*vault.Vault, error), c plan.Carried) (plan.Run, error) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if run, ok := r.read[c.Ref.SHA256]; ok && c.Whole == nil && run.ID == c.Ref.ID {
		return run, nil
	}

	run, err := LoadRun(ctx, open, c)
	if err != nil || c.Whole != nil {
		return run, err
	}

	if len(r.read) >= maxRuns || r.read == nil {
		r.read = map[string]plan.Run{}
	}
	r.read[c.Ref.SHA256] = run

	return run, nil
}

func loadRun(ctx context.Context, v *vault.Vault, ref plan.Ref) (run plan.Run, err error) {
	if err := vault.ValidName(ref.SHA256); err != nil {
		return run, err
	}

	if err := v.Report(ctx, runReport, ref.SHA256, &run); err != nil {
		return run, err
	}

	if run.Hash != ref.SHA256 || run.Sum() != ref.SHA256 || run.ID != ref.ID {
		return plan.Run{}, fail.New(fail.Corrupt, "plan: read", ref.ID, "make a new plan",
			fmt.Errorf("the vault of %s holds another plan under the hash %s", v.Region(), ref.SHA256))
	}

	return run, nil
}
