package losses

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/stream"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
	"drctl/targets/handover"
)

// Promoted is one shard that was promoted.
type Promoted struct {
	Shard targets.ShardID
	Kind  targets.Kind
	Fork  targets.Position
	// Line is another timeline of the old primary's line, as the vault had it before the
	// promotion; "" for none.
	Line string
	// Heard is what its standbys had heard before.
	Heard []handover.Heard
}

// most is how many batches of observations are read of one vault, and back how far:
// a decision may have taken hours, in which observers saw nothing.
const (
	mostBatches = 1000
	back        = 24 * time.Hour
)

// Find says of every shard how far its old primary was seen, by what the vaults hold and
// by what standbys have heard. Notes say what could not be read.
func Find(ctx context.Context, set vault.Set, group string, all []Promoted, now time.Time) (out []Shard, notes []string) {
	for _, p := range all {
		s := Shard{Shard: p.Shard, Kind: p.Kind, Fork: p.Fork}
		for _, h := range p.Heard {
			s.seen(p, h.At, "its standby was told", h.Seen)
		}

		for _, v := range set.Vaults {
			ls, err := stream.Outline(ctx, v, p.Shard)
			if err != nil {
				notes = append(notes, fmt.Sprintf("%s: the archive in the vault of %s: %v", p.Shard, v.Region(), err))
				continue
			}

			for _, l := range ls {
				s.archived(p, l, v.Region())
			}
		}
		out = append(out, s)
	}

	for _, v := range set.Vaults {
		if err := observed(ctx, v, group, all, out, now); err != nil {
			notes = append(notes, fmt.Sprintf("observations in the vault of %s: %v", v.Region(), err))
		}
	}

	for i := range out {
		out[i].judge()
	}

	return out, notes
}

// on reports whether a timeline is the old primary's.
func (p Promoted) on(id string) bool { return id != "" && (id == p.Fork.Timeline || id == p.Line) }

// seen notes that somebody saw the old primary at a place.
func (s *Shard) seen(p Promoted, at targets.Position, by string, when time.Time) {
	further := at.Offset > s.Known.Offset || s.Known.Timeline == ""
	later := at.Offset == s.Known.Offset && when.After(s.Seen)

	if !p.on(at.Timeline) || !further && !later {
		return
	}
	s.Known, s.By, s.Seen = at, by, when

	if at.Offset > s.Fork.Offset {
		s.Bytes = at.Offset - s.Fork.Offset
	}
}

func (s *Shard) archived(p Promoted, l timeline.Timeline, region string) {
	if !p.on(l.ID) || len(l.Chunks) == 0 {
		return
	}
	last := slices.MaxFunc(l.Chunks, func(a, b timeline.Chunk) int { return cmp.Compare(a.To, b.To) })
	s.seen(p, targets.Position{Kind: p.Kind, Timeline: l.ID, Offset: last.To}, "archived in "+region, last.Closed)
}

// observed reads what observers saw, the newest first, until every shard has an instant
// at which all of it is held.
func observed(ctx context.Context, v *vault.Vault, group string, all []Promoted, out []Shard, now time.Time) error {
	left := mostBatches

	for until, step := now, 10*time.Minute; until.After(now.Add(-back)) && left > 0; until, step = until.Add(-step), step*4 {
		names, err := batches.List(ctx, v, group, until.Add(-step), until)
		if err != nil {
			return err
		}

		for _, n := range slices.Backward(names) {
			if left--; left < 0 {
				return nil
			}

			b, err := batches.Get(ctx, v, n)
			if err != nil {
				if ctx.Err() != nil {
					return err
				}

				continue // one that is damaged says nothing
			}

			if done := look(b, all, out); done {
				return nil
			}
		}
	}

	return nil
}

// look takes what one batch says of the shards; true once nothing older is of interest.
func look(b observation.Batch, all []Promoted, out []Shard) (done bool) {
	done = true

	for i, p := range all {
		for _, x := range b.Shards {
			if x.Shard != p.Shard {
				continue
			}

			for _, o := range x.Observations {
				out[i].observe(p, o)
			}
		}
		done = done && !out[i].Since.IsZero()
	}

	return done
}

func (s *Shard) observe(p Promoted, o observation.Observation) {
	if !p.on(o.Timeline) || o.Wall == 0 {
		return
	}
	after := time.Unix(0, int64(o.Wall)).UTC()
	before := after.Add(-time.Duration(o.T1 - o.T0))

	s.seen(p, targets.Position{Kind: p.Kind, Timeline: o.Timeline, Offset: o.Flushed}, "an observer", after)

	// Nothing of the log stood behind this place then.
	if o.Inserted <= s.Fork.Offset && before.After(s.Since) {
		s.Since = before
	}
}
