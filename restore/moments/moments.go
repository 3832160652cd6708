package moments

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"drctl/internal/cutting"
	"drctl/internal/fail"
	"drctl/internal/moment"
	"drctl/internal/moment/window"
	"drctl/internal/platform"
	"drctl/internal/proof/shardlog"
	"drctl/internal/sealing"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

// halfDone is the limit of half-done global transactions where no policy is known.
const halfDone = 10 * time.Second

// Place is the vault that is looked into, and what reads its logs.
type Place struct {
	Vault   *vault.Vault
	Logs    map[targets.Kind]shardlog.Opener
	Version string // of drctl
}

// Found is a moment as a cut that is not sealed, with its evidence, which is to be kept
// before the cut is.
type Found struct {
	Cut      targets.Cut
	Evidence []byte
	Decided  string // which modes the grade rests on, and why
}

// At finds the last moment of a group at or before a time. The group is nil where there is
// only the vault: its shards are those of the newest cut then. Errors have code
// not-found where nothing can be proven of that time, and say why.
func (p Place) At(ctx context.Context, name string, g *platform.Group, at time.Time) (Found, error) {
	shards, policy, err := p.of(ctx, name, g)
	if err != nil {
		return Found{}, err
	}

	found, err := moment.Find(ctx, p.Vault, p.Logs, moment.Request{Group: name, Shards: shards, Policy: policy, Wish: moment.Wish{At: at}})
	if err != nil {
		return Found{}, err
	}

	// Its id sorts it where it belongs in time: it is not the latest cut.
	cut, evidence, err := found.Cut(targets.NewID(found.At()), "drctl "+p.Version)
	for _, o := range found.Obstacles {
		if cut.Proof != nil && cut.Proof.Grade != targets.Proven {
			cut.Why = append(cut.Why, o.Text())
		}
	}

	return Found{cut, evidence, found.Decided}, err
}

// Goal binds a goal that wants an instant of a whole group to the last moment at or before it
// that the logs prove to be consistent, with what the vault holds for that.
func (p Place) Goal(ctx context.Context, goal plan.Goal, g *platform.Group) (plan.Goal, Found, recovery.Inventory, error) {
	found, err := p.At(ctx, goal.Group, g, goal.At)
	if err != nil {
		return goal, found, recovery.Inventory{}, err
	}
	goal.Cut, goal.Moment, goal.At = found.Cut.ID, goal.At, time.Time{}
	inv, err := inventory.ReadMoment(ctx, p.Vault, goal, found.Cut)

	return goal, found, inv, err
}

// of says what the group is made of, and what its policy wants.
func (p Place) of(ctx context.Context, name string, g *platform.Group) (shards []moment.Shard, policy moment.Policy, err error) {
	if g != nil {
		for _, s := range g.Shards {
			shards = append(shards, moment.Shard{ID: s.Shard, Kind: s.Kind, Region: s.Region})
		}

		return shards, cutting.PolicyOf(g.Policy), nil
	}

	newest, _, err := sealing.NewestCut(ctx, p.Vault, name)
	if err != nil {
		return nil, policy, err
	}

	for _, s := range newest.Shards {
		shards = append(shards, moment.Shard{ID: s.Shard, Kind: s.Kind, Region: s.Region, Instance: s.Instance})
	}

	return shards, moment.Policy{Limit: halfDone, Grades: []targets.Grade{targets.Proven, targets.Ordered}}, nil
}

// Keep gives the moment a name, stores its evidence and seals it in the vaults of the
// set. Of an object store it takes the newest snapshot at or before the moment, and says
// how old that is; without one the moment lacks the store.
func (p Place) Keep(ctx context.Context, set vault.Set, f Found, name string) (targets.Cut, error) {
	cut := f.Cut
	cut.Name = name

	has, there, err := free(ctx, set, cut)
	if err != nil || there {
		return has, err
	}

	if cut, err = p.withObjects(ctx, cut); err != nil {
		return cut, err
	}

	if _, err := set.PutEncrypted(ctx, vault.EvidenceKey(cut.Group, cut.ID), nil, f.Evidence); err != nil {
		return cut, err
	}

	return sealing.Seal(ctx, set, cut, sealing.NewLag(cut))
}

func (p Place) withObjects(ctx context.Context, cut targets.Cut) (targets.Cut, error) {
	cut.Shards = slices.Clone(cut.Shards)

	for i := range cut.Shards {
		s := &cut.Shards[i]
		if !s.Kind.Traits().Manifest {
			continue
		}

		of := s.Position.AsOf

		found, err := p.Vault.ManifestsAround(ctx, s.Shard, of)
		if err != nil && !fail.Is(err, fail.Corrupt) {
			return cut, err
		}

		for _, m := range found {
			as := m.AsOf
			if as.IsZero() {
				as = m.Stored
			}

			if !as.After(of) && (s.Position.Manifest == "" || as.After(s.Position.AsOf)) {
				s.Position.AsOf, s.Position.Manifest = as, m.SHA256
			}
		}

		if s.Position.Manifest == "" {
			cut.Without = append(cut.Without, targets.Absent{Shard: s.Shard, Why: "there is no snapshot of its objects at or before the moment"})
			continue
		}

		if age := of.Sub(s.Position.AsOf); age > 0 {
			s.Warnings = append(s.Warnings, fmt.Sprintf("its objects are those of %s, %s before the moment", s.Position.AsOf.UTC().Format(time.RFC3339), age.Round(time.Millisecond)))
		}
	}

	cut.Shards = slices.DeleteFunc(cut.Shards, func(s targets.ShardPoint) bool {
		return s.Kind.Traits().Manifest && s.Position.Manifest == ""
	})

	return cut, nil
}

// Prove recomputes the proof of a cut from the vault alone. A cut that was taken with locks
// has none: unsupported.
func (p Place) Prove(ctx context.Context, cut *targets.Cut) (*moment.Report, error) {
	return moment.Prove(ctx, p.Vault, p.Logs, cut, nil)
}

// Cut reads a cut of a group by its id, its name, or as the latest.
func (p Place) Cut(ctx context.Context, group, name string) (targets.Cut, error) {
	id, err := Named(ctx, p.Vault, group, name)
	if err != nil {
		return targets.Cut{}, err
	}

	cut, gone, err := inventory.FindCut(ctx, p.Vault, group, id)
	if err == nil && gone != nil {
		err = fail.Newf(fail.NotFound, "read the cut", id, "it was abandoned: %s", gone.Reason)
	}

	return cut, err
}

// Window says from when to when moments of a group can be had.
func (p Place) Window(ctx context.Context, name string, g *platform.Group, from, to time.Time) (*window.Window, error) {
	shards, policy, err := p.of(ctx, name, g)
	if err != nil {
		return nil, err
	}

	var logs []targets.ShardID
	for _, s := range shards {
		if s.Kind.Traits().Log {
			logs = append(logs, s.ID)
		}
	}

	return window.Of(ctx, p.Vault, name, logs, policy.Limit, from, to)
}

// Named finds the cut of a group that has a name, or an id.
func Named(ctx context.Context, v *vault.Vault, group, name string) (string, error) {
	if _, err := v.Cut(ctx, group, name); err == nil || name == plan.Latest || !fail.Is(err, fail.NotFound) {
		return name, err
	}

	var damaged []error

	for c, err := range v.CutsNewest(ctx, group) {
		switch {
		case err != nil:
			damaged = append(damaged, err)
		case c.Name == name:
			return c.ID, nil
		}
	}

	return "", fail.New(fail.NotFound, "find the cut", group, "list them with: drctl cut list",
		errors.Join(append(damaged, fmt.Errorf("the vault of %s holds no cut with the id or name %q", v.Region(), name))...))
}

// Newest reads the newest cuts of a group, all when the limit is 0. What is
// damaged among them is joined into the error.
func Newest(ctx context.Context, v *vault.Vault, group string, limit int) ([]targets.Cut, error) {
	if limit <= 0 {
		cuts, err := v.Cuts(ctx, group)
		slices.Reverse(cuts)

		return cuts, err
	}
	cuts := []targets.Cut{}

	var damaged []error
	for c, err := range v.CutsNewest(ctx, group) {
		if err != nil {
			damaged = append(damaged, err)
			continue
		}

		if cuts = append(cuts, c); len(cuts) == limit {
			break
		}
	}

	return cuts, errors.Join(damaged...)
}
