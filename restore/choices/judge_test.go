package choices

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"drctl/restore/ahead"
	"drctl/restore/forecast"
	"drctl/restore/losses"
	"drctl/restore/moments"
	"drctl/restore/plan"
	"drctl/targets"
)

const (
	line  = "7441-00000001"
	other = "7441-00000002"
)

var (
	one = targets.ShardID{Target: "orders", Shard: "0"}
	two = targets.ShardID{Target: "orders", Shard: "1"}
	now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func at(id string, offset uint64) targets.Position {
	return targets.Position{Kind: targets.Postgres, Timeline: id, Offset: offset}
}

// ask is that of two shards and a bucket.
func ask() Ask {
	promote := []plan.StepDef{{ID: "promote-orders/0", Do: plan.OpPromote, On: one, Kind: targets.Postgres}, {ID: "promote-orders/1", Do: plan.OpPromote, On: two, Kind: targets.Postgres}}
	back := []plan.StepDef{{ID: "restore-orders/0", Do: plan.OpRestore, On: one, Kind: targets.Postgres}, {ID: "restore-orders/1", Do: plan.OpRestore, On: two, Kind: targets.Postgres}}
	bucket := plan.StepDef{ID: "ready-media/0", Do: plan.OpPrecheck, On: targets.ShardID{Target: "media", Shard: "0"}, Kind: targets.S3}
	d := plan.Definition{Group: "shop", Mode: plan.ModeFailover, From: "east", To: "west"}

	newest, proven := d, d
	newest.Choice, newest.Steps = plan.Newest, append(promote, bucket)
	proven.Choice, proven.Steps = plan.Proven, append(back, promote...)

	return Ask{Group: "shop", From: "east", To: "west", Default: plan.Newest, Why: "nothing is configured", Taken: plan.Proven,
		Plans: []Plan{{Choice: plan.Newest, Definition: newest}, {Choice: plan.Proven, Definition: proven}}}
}

// well is what is found out on a good day: both shards at 1000, all held three and five seconds ago.
func well() facts {
	f := facts{mu: &sync.Mutex{}, at: now, limit: Limit}

	for i, id := range []targets.ShardID{one, two} {
		f.shards = append(f.shards, shard{id: id, kind: targets.Postgres, standby: place{at: at(line, 1000), told: true}, old: place{told: true},
			line: ahead.Line{At: at(line, 900)}, lineTold: true,
			lost: losses.Shard{Known: at(line, 1000), By: "an observer", Since: now.Add(-time.Duration(3+2*i) * time.Second)}, lostTold: true})
	}

	cut := targets.Cut{ID: "c", QuiescedAt: now.Add(-time.Minute), Proof: &targets.CutProof{Grade: targets.Proven}}
	f.latest = found{told: true, Latest: moments.Latest{Found: moments.Found{Cut: cut}}}

	for _, id := range []targets.ShardID{one, two} {
		f.latest.Run.Steps = append(f.latest.Run.Steps, plan.Step{ID: "restore-" + id.String(), Op: plan.OpRestore, Shard: id, Point: at(line, 400), BaseBytes: 300, StreamBytes: 100})
	}

	f.past = timed{told: true, runs: 2, samples: []forecast.Sample{{Step: "promote-orders/0", Do: plan.OpPromote, Took: 2 * time.Second},
		{Step: "promote-orders/1", Do: plan.OpPromote, Took: 4 * time.Second}, {Step: "ready-media/0", Do: plan.OpPrecheck, Took: time.Second}}}

	return f
}

func words(t Table) string {
	head, rows := t.Rows()
	all := []string{strings.Join(head, "|")}

	for _, r := range rows {
		all = append(all, strings.Join(r, "|"))
	}

	return strings.Join(append(all, t.Lines()...), "\n")
}

// TestAGoodDay: of each shard the worst counts, and what never ran is not called quick.
func TestAGoodDay(t *testing.T) {
	x := judge(well(), ask())
	newest, proven := x.Of(plan.Newest), x.Of(plan.Proven)

	if w := newest.RPO.Within; w == nil || *w != 5*time.Second || newest.Worst != "orders/1" || newest.RPO.Bytes == nil || *newest.RPO.Bytes != 0 {
		t.Errorf("newest: %+v", newest)
	}

	if w := proven.RPO.Within; w == nil || *w != time.Minute || *proven.RPO.Bytes != 1200 || proven.Moment.Grade != targets.Proven {
		t.Errorf("proven: %+v", proven)
	}

	if r := newest.RTO; r.P50 == nil || *r.P50 != 4*time.Second || r.Runs != 1 || len(r.Never) != 0 {
		t.Errorf("newest: %+v", r)
	}

	if r := proven.RTO; r.P50 == nil || len(r.Never) != 2 {
		t.Errorf("proven: %+v", r)
	}

	text := words(x)
	for _, want := range []string{"newest (default)|5 s|none seen beyond|4 s|4 s|1 past run", "proven (this plan)|1 min|1.17 KiB given up|> 4 s", "never run: restore-orders/0, restore-orders/1", "default: newest: nothing is configured", "media/0: without a log"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestRestoresAreForeseenBySize: a restore of twice as much takes twice as long.
func TestRestoresAreForeseenBySize(t *testing.T) {
	f := well()
	for _, s := range []string{"restore-orders/0", "restore-orders/1"} {
		f.past.samples = append(f.past.samples, forecast.Sample{Step: s, Do: plan.OpRestore, Took: 30 * time.Second, Bytes: 200})
	}

	x := judge(f, ask())
	if r := x.Of(plan.Proven).RTO; r.P50 == nil || *r.P50 != time.Minute || len(r.Never) > 0 {
		t.Errorf("%+v", r)
	}
}

// TestUnknownIsNeverNought: whatever is missing is said to be unknown, with its reason, and no figure
// stands in its place.
func TestUnknownIsNeverNought(t *testing.T) {
	gone := errors.New("it is gone")

	for name, c := range map[string]struct {
		damage func(*facts)
		// want is said; the others are the figures that must not be there.
		want                 string
		newest, bytes        bool
		proven, given, takes bool
	}{
		"a standby that is gone": {func(f *facts) { f.shards[1].standby = place{told: true, err: gone} },
			"orders/1: its standby does not say where it stands: it is gone", true, false, false, false, false},
		"a standby that is silent":   {func(f *facts) { f.shards[0].standby = place{} }, "no answer within 2s", true, false, false, false, false},
		"nobody has seen since when": {func(f *facts) { f.shards[0].lost.Since = time.Time{} }, "orders/0: since when something is missing nobody saw", true, false, false, false, false},
		"the vaults are slow":        {func(f *facts) { f.shards[0].lost, f.shards[0].lostTold = losses.Shard{}, false }, "the vaults have not told within 5s", true, false, false, false, false},
		"no vault answers": {func(f *facts) {
			for i := range f.shards {
				f.shards[i].lost, f.shards[i].lostTold, f.shards[i].lineTold = losses.Shard{}, false, false
			}
			f.latest, f.sealed, f.past, f.noVault = found{err: gone}, found{err: gone}, timed{err: gone}, gone
		}, "nobody saw: it is gone", true, true, true, true, true},
		"no moment":                       {func(f *facts) { f.latest, f.sealed = found{told: true, err: gone}, found{told: true, err: gone} }, "no moment is known: it is gone", false, false, true, true, false},
		"the search for a moment is long": {func(f *facts) { f.latest = found{} }, "no moment is known: no answer within 5s", false, false, true, true, false},
		"another line of log":             {func(f *facts) { f.latest.Run.Steps[0].Point = at(other, 10) }, "orders/0: its standby is at", false, false, false, false, false},
		"nothing has ever run":            {func(f *facts) { f.past = timed{told: true} }, "takes: unknown: never run", false, false, false, false, true},
		"other things have run":           {func(f *facts) { f.past.samples = []forecast.Sample{{Step: "x", Do: plan.OpExec, Took: 1}} }, "takes: unknown: never run", false, false, false, false, true},
		"the past is not told":            {func(f *facts) { f.past = timed{told: true, err: gone} }, "past runs are not known: it is gone", false, false, false, false, true},
	} {
		f := well()
		c.damage(&f)
		x := judge(f, ask())
		n, p := x.Of(plan.Newest), x.Of(plan.Proven)

		if text := words(x); !strings.Contains(text, c.want) {
			t.Errorf("%s: no %q in\n%s", name, c.want, text)
		}

		for figure, is := range map[string]struct{ unknown, nothing bool }{"newest": {c.newest, n.RPO.Within == nil}, "log of newest": {c.bytes, n.RPO.Bytes == nil},
			"proven": {c.proven, p.RPO.Within == nil}, "log of proven": {c.given, p.RPO.Bytes == nil}, "time": {c.takes, n.RTO.P50 == nil && p.RTO.P50 == nil}} {
			if is.unknown != is.nothing {
				t.Errorf("%s: %s is known: %t\n%s", name, figure, !is.nothing, words(x))
			}
		}
	}
}

// TestASealedCutStandsIn: where the search takes too long, what is sealed is known all the same, and is not called the newest.
func TestASealedCutStandsIn(t *testing.T) {
	f := well()
	f.sealed, f.latest = f.latest, found{}
	f.sealed.Found.Cut.QuiescedAt = now.Add(-time.Hour)

	x := judge(f, ask())
	p := x.Of(plan.Proven)

	if p.RPO.Within == nil || *p.RPO.Within != time.Hour || !strings.Contains(words(x), "may not be the newest") {
		t.Errorf("%+v\n%s", p, words(x))
	}
}

// TestAPrimaryThatAnswers says itself how far it is; one that is ahead has more than is held.
func TestAPrimaryThatAnswers(t *testing.T) {
	f := well()
	for i := range f.shards {
		f.shards[i].old = place{at: at(line, 1000), when: now.Add(-time.Millisecond), told: true}
	}

	n := judge(f, ask()).Choices[0]
	if n.RPO.Within == nil || *n.RPO.Within != time.Millisecond {
		t.Errorf("all is held: %+v", n.RPO)
	}

	f.shards[0].old.at.Offset = 1500

	n = judge(f, ask()).Choices[0]
	if n.RPO.Within == nil || *n.RPO.Within != 3*time.Second || *n.RPO.Bytes != 500 {
		t.Errorf("500 bytes are not: %+v", n.RPO)
	}
}

// TestAWayThatCannotRun is listed with its reason, and has no figures.
func TestAWayThatCannotRun(t *testing.T) {
	a := ask()
	a.Plans[1].Err = errors.New("no data_dir")

	x := judge(well(), a)
	if p := x.Of(plan.Proven); p.RPO.Within != nil || p.RTO.P50 != nil || !strings.Contains(words(x), "proven cannot run: no data_dir") || !strings.Contains(x.Words(), "cannot run") {
		t.Errorf("%+v\n%s", p, words(x))
	}
}

// TestCompare holds what came of a run against what was foreseen.
func TestCompare(t *testing.T) {
	x := judge(well(), ask())

	for want, r := range map[string]Reached{
		"from 2026-03-01T11:59:00.000Z on: proven loses at most 1 min":                                        {},
		"reached: loses what was written in the 1 min 10 s from 2026-03-01T11:59:00.000Z on, took 1 min 30 s": {LostFrom: now.Add(-time.Minute), Silent: now.Add(10 * time.Second), Took: 90 * time.Second},
		"reached: loses: unknown: nobody knows":                                                               {LostWhy: "nobody knows"},
		"reached: loses nothing":                                                                              {Silent: now},
	} {
		if text := x.Compare(r); !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}

	if (*Table)(nil).Compare(Reached{}) != "" || (*Table)(nil).Words() != "" {
		t.Error("nothing was foreseen")
	}
}
