package history

import (
	"context"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/failover"
	"drctl/restore/forecast"
	"drctl/restore/inventory"
	"drctl/restore/plan"
)

// Plan is one plan that a group had.
type Plan struct {
	Hash string    `json:"hash"`
	Mode plan.Mode `json:"mode"`
	From string    `json:"from"`
	To   string    `json:"to"`
	// First and Last are when its first and its last run or drill began.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// By are those who began them, in the order of their first.
	By []string `json:"by"`
	// Before is the plan of the same mode and regions that was used before this one came up,
	// and Changes what is different from that.
	Before  string                `json:"before,omitempty"`
	Changes []failover.Difference `json:"changes,omitempty"`
	// Unknown says why it cannot be told what has changed.
	Unknown string `json:"changes_unknown,omitempty"`
	// Entries are its runs and drills, the newest first.
	Entries      []Entry               `json:"entries"`
	Verification forecast.Verification `json:"verification"`
}

// Plans lists the plans of a group by their hash, the last used first. mode "" lists all. The
// error is of vaults that did not tell; what others told is returned with it.
func Plans(ctx context.Context, set vault.Set, group string, mode plan.Mode, lasts time.Duration, now time.Time) ([]Plan, error) {
	r := read(ctx, set, group, time.Time{})
	out := []Plan{}

	var all []forecast.Rehearsal

	for _, e := range r.out { // the newest first
		if mode != "" && e.Mode != mode {
			continue
		}
		all = append(all, e.rehearsal())

		i := slices.IndexFunc(out, func(p Plan) bool { return p.Hash == e.Plan })
		if i < 0 {
			out = append(out, Plan{Hash: e.Plan, Mode: e.Mode, From: e.From, To: e.To, Last: e.Started})
			i = len(out) - 1
		}

		p := &out[i]
		p.First, p.Entries = e.Started, append(p.Entries, e)
	}

	defs := definitions{set: set, known: map[string]plan.Definition{}}

	for i := range out {
		p := &out[i]
		for _, e := range slices.Backward(p.Entries) {
			if !slices.Contains(p.By, e.By) {
				p.By = append(p.By, e.By)
			}
		}

		p.Verification = r.believed(forecast.Verified(p.Hash, all, now, lasts), p.To)
		defs.compare(ctx, r.out, p)
	}

	return out, r.err()
}

// definitions reads each plan once.
type definitions struct {
	set   vault.Set
	known map[string]plan.Definition
}

func (d definitions) load(ctx context.Context, hash string) (plan.Definition, error) {
	if x, ok := d.known[hash]; ok {
		return x, nil
	}

	byRegion := map[string]*vault.Vault{}
	ref := plan.Ref{SHA256: hash}

	for _, v := range d.set.Vaults {
		byRegion[v.Region()] = v
		ref.Vaults = append(ref.Vaults, v.Region())
	}

	x, err := inventory.LoadDefinition(ctx, func(_ context.Context, region string) (*vault.Vault, error) {
		if v, ok := byRegion[region]; ok {
			return v, nil
		}

		return nil, fail.Newf(fail.NotFound, op, region, "no such vault")
	}, ref)
	if err == nil {
		d.known[hash] = x
	}

	return x, err
}

// compare finds the plan before one, and what has changed.
func (d definitions) compare(ctx context.Context, all []Entry, p *Plan) {
	for _, e := range all { // the newest first
		if e.Mode == p.Mode && e.From == p.From && e.To == p.To && e.Plan != p.Hash && e.Started.Before(p.First) {
			p.Before = e.Plan
			break
		}
	}

	if p.Before == "" {
		return
	}

	was, err := d.load(ctx, p.Before)
	if err != nil {
		p.Unknown = err.Error()
		return
	}

	is, err := d.load(ctx, p.Hash)
	if err != nil {
		p.Unknown = err.Error()
		return
	}
	p.Changes = failover.Diff(was, is)
}
