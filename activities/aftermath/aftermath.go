package aftermath

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"drctl/activities/halfdone"
	"drctl/activities/planned"
	"drctl/activities/section"
	"drctl/activities/steps"
	"drctl/restore/losses"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

// Promoted are the shards that a section promoted.
func Promoted(d plan.Definition, out section.Result) (all []losses.Promoted) {
	for _, s := range out.Steps {
		def, _ := d.Step(s.ID)

		var p handover.Promoted
		if def.Do != plan.OpPromote || s.Status != machine.Done || json.Unmarshal(s.Out, &p) != nil || p.Fork.Timeline == "" {
			continue
		}
		all = append(all, losses.Promoted{Shard: def.On, Kind: def.Kind, Fork: p.Fork})
	}

	return all
}

// Forks are where new primaries have left the old timelines.
func Forks(d plan.Definition, out section.Result) map[targets.ShardID]targets.Position {
	all := map[targets.ShardID]targets.Position{}
	for _, p := range Promoted(d, out) {
		all[p.Shard] = p.Fork
	}

	return all
}

// Halves are tagged global transactions that a failover left half done, as far as it is known within a time; nil
// where nothing was promoted. What was lost says until when nothing was; it may be nil.
func Halves(ctx context.Context, r halfdone.Resolver, d plan.Definition, out section.Result, lost *losses.Statement, within time.Duration) *halfdone.Halves {
	forks, held := Forks(d, out), map[targets.ShardID]time.Time{}
	if len(forks) == 0 {
		return nil
	}

	if lost != nil {
		for _, s := range lost.Shards {
			held[s.Shard] = s.Since
		}
	}

	stop := planned.Beat(ctx, planned.Nothing)
	defer stop()

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()

	return r.Halves(ctx, d, forks, held)
}

// Before adds what was known before the promotion: by the section's journal, and by
// the steps that had asked the standbys.
func Before(ctx context.Context, j planned.Journal, outs map[string]json.RawMessage, d plan.Definition, all []losses.Promoted, st *losses.Statement) error {
	es, err := j.Read(ctx)
	if err != nil || len(es) == 0 {
		return err
	}
	st.Silent = es[0].At.UTC() // the fences of a failover have ended when its section begins

	var seen steps.Seen
	if err := json.Unmarshal(es[0].Prepared, &seen); err != nil {
		return fmt.Errorf("what was known before: %w", err)
	}

	for i := range all {
		p := &all[i]

		line := seen.Lines[p.Shard.String()]
		p.Line = line.At.Timeline

		if line.Heard != nil {
			p.Heard = append(p.Heard, *line.Heard)
		}

		for _, s := range d.Steps {
			var h handover.Heard
			if s.Do == plan.OpPrecheck && s.On == p.Shard && json.Unmarshal(outs[s.ID], &h) == nil {
				p.Heard = append(p.Heard, h)
			}
		}
	}

	return nil
}

// Left is what the steps of a section have ended, and left.
func Left(all []section.StepResult) (out halfdone.Left) {
	for _, s := range all {
		var left halfdone.Left
		if len(s.Out) == 0 || json.Unmarshal(s.Out, &left) != nil {
			continue
		}
		shard := strings.TrimPrefix(s.ID, string(plan.OpResolve)+"-") + ": "

		for _, t := range left.InDoubt {
			out.InDoubt = append(out.InDoubt, shard+t)
		}

		for _, t := range left.Ended {
			out.Ended = append(out.Ended, shard+t)
		}
	}

	return out
}
