package parted

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/vault"
	"drctl/restore/history"
	"drctl/targets"
	"drctl/targets/reconciliation"
)

const op = "reconcile"

// Ancestor is what both sides had.
type Ancestor struct {
	// Cut is the one whose manifest it is; "" when none is known.
	Cut      string
	manifest string
	shard    targets.ShardID
	in       *vault.Vault
}

// Open reads its manifest; reading to the end checks it.
func (a Ancestor) Open(ctx context.Context) (io.ReadCloser, error) {
	return vault.Set{Vaults: []*vault.Vault{a.in}, Durability: 1}.Shard(a.shard).Manifest(ctx, a.manifest)
}

// Find finds the newest cut of a shard before two regions parted: see history.Recent.Parted. none is not an error: then
// nobody knows what both had. run names a run that does not count.
func Find(ctx context.Context, set vault.Set, group string, shard targets.ShardID, a, b, run string) (Ancestor, error) {
	at, err := apart(ctx, set, group, a, b, run)
	if err != nil || at.IsZero() {
		return Ancestor{}, err
	}

	return newest(ctx, set, group, shard, func(c targets.Cut) bool { return before(c, at) })
}

// apart is since when two regions have been apart; zero when they never were.
func apart(ctx context.Context, set vault.Set, group, a, b, run string) (time.Time, error) {
	past := history.Read(ctx, set, group, time.Now(), 0)
	if err := past.Err(); err != nil { // what is not known could be newer
		return time.Time{}, err
	}

	return past.Parted(a, b, run), nil
}

// before reports whether all of a cut was taken before an instant: a bucket that keeps no
// versions is listed until the cut is sealed.
func before(c targets.Cut, at time.Time) bool { return !c.SealedAt.IsZero() && c.SealedAt.Before(at) }

// Named is the manifest of a shard in a cut. Not-found when no vault has it, invalid when it was
// taken after the two regions parted.
func Named(ctx context.Context, set vault.Set, group string, shard targets.ShardID, a, b, cut, run string) (Ancestor, error) {
	at, err := apart(ctx, set, group, a, b, run)
	if err != nil {
		return Ancestor{}, err
	}
	late := false

	out, err := newest(ctx, set, group, shard, func(c targets.Cut) bool {
		late = late || c.ID == cut && !at.IsZero() && !before(c, at)
		return c.ID == cut
	})

	switch {
	case err != nil:
		return Ancestor{}, err
	case late:
		return Ancestor{}, fail.New(fail.Invalid, op, cut, "name an older one, or none: the newest that will do is found", fmt.Errorf("%s and %s have been apart since %s: what the cut has is not what both had", a, b, at.UTC().Format(time.RFC3339)))
	case out.Cut == "":
		return Ancestor{}, fail.New(fail.NotFound, op, cut, "see which there are: drctl cut list", fmt.Errorf("no vault that answers has such a cut of %s", shard))
	}

	return out, nil
}

// newest is that of the newest cut that will do, whichever vault has it.
func newest(ctx context.Context, set vault.Set, group string, shard targets.ShardID, will func(targets.Cut) bool) (out Ancestor, err error) {
	var found targets.Cut

	for _, v := range set.Vaults {
		for c, err := range v.CutsNewest(ctx, group) {
			if err != nil {
				return Ancestor{}, err
			}

			m := manifestOf(c, shard)
			if m == "" || !will(c) {
				continue
			}

			if c.ID > found.ID {
				found, out = c, Ancestor{Cut: c.ID, manifest: m, shard: shard, in: v}
			}

			break
		}
	}

	return out, nil
}

func manifestOf(c targets.Cut, shard targets.ShardID) string {
	for _, s := range c.Shards {
		if s.Shard == shard {
			return s.Position.Manifest
		}
	}

	return ""
}

// Options say how two sides are brought together.
type Options struct {
	Group string
	// Run is the run that does it, which does not count as one in which they parted.
	Run string
	// Cut names what both had; "" finds it.
	Cut            string
	DryRun, Delete bool
	// Fill copies what is missing although nothing shows that it was deleted.
	Fill     bool
	Progress func(reconciliation.Result)
}

// Reconcile brings two instances of a shard together that went on separately: see
// reconciliation.Reconciler. The result is there with an error, too.
func Reconcile(ctx context.Context, driver targets.Driver, set vault.Set, a, b targets.Instance, o Options) (reconciliation.Result, error) {
	none := reconciliation.Result{Shard: a.Shard, A: a.Region, B: b.Region, DryRun: o.DryRun}

	r, ok := driver.(reconciliation.Reconciler)
	if !ok {
		return none, fail.Newf(fail.Unsupported, op, a.Shard.String(), "stores of the kind %s do not take writes on both sides", a.Kind)
	}

	was, err := o.ancestor(ctx, set, a, b)
	if err != nil {
		return none, err
	}
	req := reconciliation.Request{DryRun: o.DryRun, Delete: o.Delete, Fill: o.Fill, Progress: o.Progress}

	if was.Cut != "" {
		req.Ancestor = was.Open
	}

	out, err := r.Reconcile(ctx, a, b, req)
	out.Ancestor = was.Cut

	return out, err
}

func (o Options) ancestor(ctx context.Context, set vault.Set, a, b targets.Instance) (Ancestor, error) {
	if o.Cut != "" {
		return Named(ctx, set, o.Group, a.Shard, a.Region, b.Region, o.Cut, o.Run)
	}

	return Find(ctx, set, o.Group, a.Shard, a.Region, b.Region, o.Run)
}

// Words says what came of it.
func Words(r reconciliation.Result) string {
	if r.Note != "" {
		return r.Note
	}

	done := "copied"
	if r.DryRun {
		done = "to be copied"
	}

	text := fmt.Sprintf("%s: %d objects, %d the same; %s: %d to %s, %d to %s, %s; %d conflicts left alone, %d deletions known and %d carried out", r.Shard, r.Objects, r.Same, done,
		r.ToA, r.A, r.ToB, r.B, human.Bytes(r.Bytes), r.Conflicts, r.Deletions, r.Deleted)

	if r.Doubtful > 0 {
		text += fmt.Sprintf("; of the deletions %d are shown by nothing", r.Doubtful)
	}

	if r.Emptied != "" {
		text += fmt.Sprintf("; %s has nothing any more of what both had", r.Emptied)
	}

	if r.NotKept > 0 {
		text += fmt.Sprintf("; %d copies lack tags, a lock or a storage class of their originals", r.NotKept)
	}

	if r.Failed > 0 {
		text += fmt.Sprintf("; %d could not be copied", r.Failed)
	}

	if r.Unnamed > 0 {
		text += fmt.Sprintf("; %d have keys that a server does not give", r.Unnamed)
	}

	return text
}

// Open says that people have to look: conflicts, what could not be copied, and what is missing although
// nothing shows that somebody deleted it. nil when there is nothing.
func Open(r reconciliation.Result, group string) error {
	hint := "see them with: drctl failback reconcile --dry-run --group " + group + "; make both sides alike by hand, and repeat it"

	switch {
	case r.Conflicts > 0 || r.Failed > 0 || r.Unnamed > 0:
	case r.Emptied != "":
		hint += "; is it the right bucket?"
	case r.Doubtful == 0:
		return nil
	}

	if r.Doubtful > 0 {
		hint += "; what was lost, or never came there, is copied with --fill"
	}

	return fail.New(fail.Unverified, op, r.Shard.String(), hint, errors.New(Words(r)))
}
