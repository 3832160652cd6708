package choices

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/internal/human"
	"drctl/restore/forecast"
	"drctl/restore/plan"
	"drctl/targets"
)

// judge makes the table of what was found out. It is pure.
func judge(f facts, a Ask) Table {
	t := Table{Group: a.Group, From: a.From, To: a.To, At: f.at, Default: a.Default, DefaultWhy: a.Why, Taken: a.Taken, Choices: []Choice{}, Notes: f.notes}
	if out := f.without(a); len(out) > 0 {
		t.Notes = append(t.Notes, some(out, ", ")+": without a log, what was written there in the old region alone is not part of these figures")
	}

	for _, p := range a.Plans {
		c := Choice{Choice: p.Choice}

		if p.Err != nil {
			c.Cannot = p.Err.Error()
			c.RPO = Loss{Why: "it cannot run", BytesWhy: "it cannot run"}
			c.RTO = Time{Why: "it cannot run"}
			t.Choices = append(t.Choices, c)

			continue
		}

		c.Plan = p.Definition.Hash()

		var sizes map[string]int64
		if p.Choice == plan.Proven {
			sizes = f.proven(&c, p.Definition)
		} else {
			f.newest(&c)
		}

		c.RTO = f.takes(p.Definition, sizes)
		t.Choices = append(t.Choices, c)
	}

	return t
}

// without are shards of the plan that have no log.
func (f facts) without(a Ask) (out []string) {
	for _, p := range a.Plans {
		for _, s := range p.Definition.Steps {
			if s.Kind != "" && !s.Kind.Traits().Log && !slices.Contains(out, s.On.String()) {
				out = append(out, s.On.String())
			}
		}
	}

	return out
}

// newest says what each shard loses that goes as far as its standby and the vault.
func (f facts) newest(c *Choice) {
	for _, s := range f.shards {
		c.Shards = append(c.Shards, f.shard(s))
	}

	var unknown []string

	for _, s := range c.Shards {
		switch {
		case s.Loss.Within == nil:
			unknown = append(unknown, s.Shard.String()+": "+s.Loss.Why)
		case c.RPO.Within == nil || *s.Loss.Within > *c.RPO.Within:
			c.RPO.Within, c.Worst = s.Loss.Within, s.Shard.String()
		}
	}

	// The worst of some says nothing of all.
	if len(unknown) > 0 {
		c.RPO.Within, c.Worst, c.RPO.Why = nil, "", some(unknown, "; ")
	}

	if len(c.Shards) == 0 {
		c.RPO.Why = "the plan promotes nothing that has a log"
	}

	c.RPO.sum(c.Shards)
}

// shard says what one loses.
func (f facts) shard(s shard) Shard {
	out := Shard{Shard: s.id, Kind: s.kind, To: s.reach()}

	if out.To.Timeline == "" {
		out.Loss.Why = "its standby does not say where it stands: " + reason(s.standby.err, ServerLimit)
		out.Loss.BytesWhy = out.Loss.Why

		return out
	}

	switch {
	case !s.lineTold && f.noVault != nil:
		out.Notes = append(out.Notes, "what a vault has beyond its standby is not known: "+f.noVault.Error())
	case !s.lineTold || s.lineErr != nil:
		out.Notes = append(out.Notes, "what the vault has beyond its standby is not known: "+reason(s.lineErr, f.limit))
	}

	// How far the old primary was seen, by whom.
	out.Known, out.By = s.lost.Known, s.lost.By
	if s.old.at.Timeline == out.To.Timeline && (out.Known.Timeline == "" || s.old.at.Offset > out.Known.Offset) {
		out.Known, out.By = s.old.at, "it said so itself"
	}

	if out.Known.Timeline == "" {
		out.Loss.BytesWhy = "nobody saw how far the old primary is" + f.late(s)
	} else {
		beyond := max(0, int64(out.Known.Offset)-int64(out.To.Offset))
		out.Loss.Bytes = &beyond
	}

	since := s.lost.Since
	if s.old.at.Timeline == out.To.Timeline && s.old.at.Offset <= out.To.Offset && s.old.when.After(since) {
		since = s.old.when
	}

	if since.IsZero() {
		out.Loss.Why = "since when something is missing nobody saw" + f.late(s)
		return out
	}

	within := max(0, f.at.Sub(since))
	out.Loss.Within = &within

	return out
}

// late says that the vaults have not told what was seen of a shard.
func (f facts) late(s shard) string {
	switch {
	case s.lostTold:
		return ""
	case f.noVault != nil:
		return ": " + f.noVault.Error()
	}

	return fmt.Sprintf(": the vaults have not told within %s", f.limit)
}

// proven says what the group loses that goes to its newest moment, and how much each restore has to move.
func (f facts) proven(c *Choice, d plan.Definition) (sizes map[string]int64) {
	m, why := f.latest, ""

	if !m.told || m.err != nil {
		why = reason(m.err, f.limit)
		m = f.sealed
	}

	if !m.told || m.err != nil {
		c.RPO.Why = "no moment is known: " + why
		c.RPO.BytesWhy = c.RPO.Why

		return nil
	}

	cut := m.Found.Cut
	c.Moment = &Moment{At: cut.QuiescedAt, Grade: cut.Grade(), Cut: cut.ID}

	if why != "" {
		c.Moment.Why = "it is that of the newest sealed cut; a newer one is not known: " + why
	} else if len(m.Warnings) > 0 {
		c.Moment.Why = strings.Join(m.Warnings, "; ")
	}

	within := max(0, f.at.Sub(cut.QuiescedAt))
	c.RPO.Within = &within
	sizes = map[string]int64{}

	for _, back := range m.Run.Steps {
		if back.Op != plan.OpRestore {
			continue
		}

		for _, s := range d.Steps {
			if s.Do == plan.OpRestore && s.On == back.Shard {
				sizes[s.ID] = back.BaseBytes + back.StreamBytes
			}
		}

		i := slices.IndexFunc(f.shards, func(s shard) bool { return s.id == back.Shard })
		if i < 0 {
			continue
		}
		c.Shards = append(c.Shards, f.given(f.shards[i], back.Point, within))
	}

	c.RPO.sum(c.Shards)

	return sizes
}

// given says what the standby of a shard has beyond the moment.
func (f facts) given(s shard, point targets.Position, within time.Duration) Shard {
	out := Shard{Shard: s.id, Kind: s.kind, To: point, Loss: Loss{Within: &within}}

	switch {
	case !s.standby.told || s.standby.err != nil:
		out.Loss.BytesWhy = "its standby does not say where it stands: " + reason(s.standby.err, ServerLimit)
	case s.standby.at.Timeline != point.Timeline:
		out.Loss.BytesWhy = fmt.Sprintf("its standby is at %s, on another line of log", s.standby.at)
	default:
		out.Known, out.By = s.standby.at, "its standby has it"
		beyond := max(0, int64(s.standby.at.Offset)-int64(point.Offset))
		out.Loss.Bytes = &beyond
	}

	return out
}

// sum adds up the log of all shards.
func (l *Loss) sum(all []Shard) {
	var unknown []string

	for _, s := range all {
		if s.Loss.Bytes == nil {
			unknown = append(unknown, s.Shard.String()+": "+s.Loss.BytesWhy)
			continue
		}

		if l.Bytes == nil {
			l.Bytes = new(int64)
		}
		*l.Bytes += *s.Loss.Bytes
	}

	l.BytesWhy = some(unknown, "; ")
	if len(all) == 0 {
		l.BytesWhy = "of no shard is known how far it is"
	}
}

// takes says how long a plan takes, by past runs and drills.
func (f facts) takes(d plan.Definition, sizes map[string]int64) Time {
	switch {
	case !f.past.told && f.past.err == nil:
		return Time{Why: fmt.Sprintf("the vaults have not told of past runs within %s", f.limit)}
	case f.past.runs == 0 && f.past.err != nil:
		return Time{Why: "past runs are not known: " + reason(f.past.err, f.limit)}
	case f.past.runs == 0:
		return Time{Why: never}
	}

	x := forecast.Of(d, d.Mode, f.past.samples, sizes, 0)
	if len(x.Unknown) == len(x.Steps) {
		return Time{Why: never}
	}

	out := Time{P50: &x.Total.P50, P95: &x.Total.P95, People: x.People.P50, Runs: f.past.runs, Never: x.Unknown}

	for _, s := range x.Steps {
		if s.Samples > 0 && slices.Contains(x.Path, s.Step) {
			out.Runs = min(out.Runs, s.Samples)
		}
	}

	if f.past.err != nil {
		out.Unread = human.Clean(reason(f.past.err, f.limit))
	}

	return out
}
