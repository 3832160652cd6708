package choices

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/proof/shardlog"
	"drctl/internal/vault"
	"drctl/restore/ahead"
	"drctl/restore/forecast"
	"drctl/restore/history"
	"drctl/restore/losses"
	"drctl/restore/moments"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

const (
	// ServerLimit is how long a server, or the vault of a region, may take to say that it is there.
	ServerLimit = 2 * time.Second
	// Limit is how long all of it may take.
	Limit = 5 * time.Second
)

// Ask is what is to be foreseen.
type Ask struct {
	Group, From, To string
	// Plans are those of both choices.
	Plans []Plan
	// Default is the choice that is taken when nobody says so, and Why; Taken is that of the plan
	// which is shown.
	Default plan.Choice
	Why     string
	Taken   plan.Choice
	// Verified is how far back runs and drills count; 0 is for ever.
	Verified time.Duration
}

// Plan is that of one choice.
type Plan struct {
	Choice     plan.Choice
	Definition plan.Definition
	// Err is why there is none that may run.
	Err error
}

// Sources are what is asked.
type Sources struct {
	Platform platform.Resolver
	Drivers  map[targets.Kind]targets.Driver
	Logs     map[targets.Kind]shardlog.Opener
	Version  string // of drctl
	// Limit is that of all of it; 0 is Limit.
	Limit time.Duration
}

// Foresee asks everything at once, each within its limit. What does not answer in time is unknown,
// also where it heeds no deadline: a file system that hangs keeps nobody.
func (s Sources) Foresee(ctx context.Context, a Ask) Table {
	if s.Limit <= 0 {
		s.Limit = Limit
	}

	ctx, stop := context.WithTimeout(ctx, s.Limit)
	defer stop()

	f := newFacts(a, s.Limit)
	ended := make(chan struct{})

	go func() {
		defer close(ended)

		s.gather(ctx, a, f)
	}()

	select {
	case <-ended:
	case <-ctx.Done():
	}

	return judge(f.seen(), a)
}

// gather asks servers and vaults. What it finds out it keeps at once.
func (s Sources) gather(ctx context.Context, a Ask, f *facts) {
	var asked sync.WaitGroup
	for i, sh := range f.shards {
		asked.Go(func() { s.askServers(ctx, a, f, i, sh) })
	}

	set, notes := s.vaults(ctx, a)
	f.keep(func() { f.notes = append(f.notes, notes...) })

	if len(set.Vaults) == 0 {
		err := fail.Newf(fail.Unavailable, "choices", a.Group, "no vault answers")
		f.keep(func() { f.past.err, f.latest.err, f.sealed.err, f.noVault = err, err, err, err })
		asked.Wait()

		return
	}

	var all sync.WaitGroup
	all.Go(func() {
		past := history.Read(ctx, set, a.Group, time.Now(), a.Verified)
		got := timed{samples: past.Samples(), runs: past.Timed(), err: past.Err(), told: true}
		f.keep(func() { f.past = got })
	})
	all.Go(func() { s.askMoments(ctx, a, f, set) })
	asked.Wait()
	s.askLosses(ctx, a, f, set)
	all.Wait()
}

// askServers asks a shard's standby where it stands, and the old primary, should it still be there.
func (s Sources) askServers(ctx context.Context, a Ask, f *facts, i int, sh shard) {
	ctx, stop := context.WithTimeout(ctx, ServerLimit)
	defer stop()

	from := started(func() place { return s.primary(ctx, sh.id, a.From) })
	to := started(func() place { return s.standby(ctx, sh.id, a.To) })
	standby, old := answer(ctx, to), answer(ctx, from)

	// A primary under load is always some bytes ahead: what it had is there by now.
	if old.at.Timeline != "" && standby.err == nil && standby.at.Timeline == old.at.Timeline && standby.at.Offset < old.at.Offset {
		if again := answer(ctx, started(func() place { return s.standby(ctx, sh.id, a.To) })); again.told && again.err == nil {
			standby = again
		}
	}

	f.keep(func() { f.shards[i].standby, f.shards[i].old = standby, old })
}

// started asks at once.
func started(ask func() place) <-chan place {
	out := make(chan place, 1)
	go func() { out <- ask() }()

	return out
}

// answer waits for what is said within a time; nothing of who heeds no deadline.
func answer(ctx context.Context, of <-chan place) place {
	select {
	case p := <-of:
		return p
	case <-ctx.Done():
	}

	select {
	case p := <-of: // just in time
		return p
	default:
		return place{}
	}
}

func (s Sources) server(ctx context.Context, id targets.ShardID, region string) (targets.Instance, targets.Driver, error) {
	in, err := s.Platform.Instance(ctx, id, region)
	if err != nil {
		return in, nil, err
	}

	d := s.Drivers[in.Kind]
	if d == nil {
		return in, nil, fail.Newf(fail.Unsupported, "choices", in.String(), "this build knows no store of kind %q", in.Kind)
	}

	return in, d, nil
}

func (s Sources) standby(ctx context.Context, id targets.ShardID, region string) (p place) {
	in, d, err := s.server(ctx, id, region)
	if err == nil {
		p.at, err = ahead.Place(ctx, d, in)
	}

	if p.told, p.err = true, err; err == nil {
		p.when, p.heard = time.Now().UTC(), ahead.Heard(ctx, d, in)
	}

	return p
}

// primary is the place of the old side, where that still takes writes. The time is from before it was asked.
func (s Sources) primary(ctx context.Context, id targets.ShardID, region string) (p place) {
	in, d, err := s.server(ctx, id, region)
	if err != nil {
		return place{told: true, err: err}
	}

	p.when = time.Now().UTC()

	st, err := d.Reach(ctx, in)
	if p.told, p.err = true, err; err == nil && st.Writable {
		p.at = st.Position
	}

	return p
}

// vaults are those of the group that answer, and notes of those that do not. That of the region that
// takes over is first.
func (s Sources) vaults(ctx context.Context, a Ask) (set vault.Set, notes []string) {
	g, err := s.Platform.Group(a.Group)
	if err != nil {
		return set, []string{err.Error()}
	}

	regions := slices.Clone(g.Policy.Vaults)
	slices.SortStableFunc(regions, func(x, y string) int { return first(x, a.To) - first(y, a.To) })

	ctx, stop := context.WithTimeout(ctx, ServerLimit)
	defer stop()

	type opened struct {
		i   int
		v   *vault.Vault
		err error
	}
	answers := make(chan opened, len(regions))

	for i, region := range regions {
		go func() {
			v, err := s.Platform.Vault(ctx, region)
			if err == nil {
				err = v.Answers(ctx)
			}

			answers <- opened{i, v, err}
		}()
	}

	all, why := make([]*vault.Vault, len(regions)), make([]error, len(regions))

	for range regions {
		select {
		case o := <-answers:
			if why[o.i] = o.err; o.err == nil {
				all[o.i] = o.v
			}
		case <-ctx.Done(): // one that heeds no deadline keeps nobody
		}
	}

	set.Durability = 1

	for i, v := range all {
		if v != nil {
			set.Vaults = append(set.Vaults, v)
			continue
		}
		notes = append(notes, fmt.Sprintf("the vault of %s is left out: %s", regions[i], reason(why[i], ServerLimit)))
	}

	return set, notes
}

func first(region, to string) int {
	if region == to {
		return 0
	}

	return 1
}

// of is the vault of a region; nil when it does not answer.
func of(set vault.Set, region string) *vault.Vault {
	for _, v := range set.Vaults {
		if v.Region() == region {
			return v
		}
	}

	return nil
}

// askMoments looks for the newest moment, and meanwhile for the newest cut that is sealed: where the logs are long that is
// found at once.
func (s Sources) askMoments(ctx context.Context, a Ask, f *facts, set vault.Set) {
	i := slices.IndexFunc(a.Plans, func(p Plan) bool { return p.Choice == plan.Proven && p.Err == nil })
	v := of(set, a.To)
	g, err := s.Platform.Group(a.Group)

	switch {
	case i < 0:
		return
	case v == nil:
		err = fail.Newf(fail.Unavailable, "choices", a.Group, "the vault of %s does not answer", a.To)
	}

	if err != nil {
		f.keep(func() { f.latest.err, f.sealed.err = err, err })
		return
	}

	goal := moments.GoalOf(a.Plans[i].Definition)
	p, now := moments.Place{Vault: v, Logs: s.Logs, Version: s.Version}, time.Now().UTC()

	var both sync.WaitGroup
	both.Go(func() {
		x, err := p.Sealed(ctx, goal, &g, now)
		f.keep(func() { f.sealed = found{x, err, true} })
	})
	both.Go(func() {
		x, err := p.Newest(ctx, goal, &g, now)
		f.keep(func() { f.latest = found{x, err, true} })
	})
	both.Wait()
}

// askLosses asks the vaults for what they have beyond the standbys, and for what was seen of the old primaries
// beyond that.
func (s Sources) askLosses(ctx context.Context, a Ask, f *facts, set vault.Set) {
	if v := of(set, a.To); v != nil {
		var all sync.WaitGroup
		for i, sh := range f.seen().shards {
			if sh.standby.err != nil || !sh.standby.told {
				continue
			}

			all.Go(func() {
				line, path, err := ahead.Of(ctx, v, sh.id, sh.standby.at)
				f.keep(func() {
					f.shards[i].line, f.shards[i].path, f.shards[i].lineErr, f.shards[i].lineTold = line, path, err, true
				})
			})
		}

		all.Wait()
	}

	var forks []losses.Promoted
	var index []int

	for i, sh := range f.seen().shards {
		to := sh.reach()
		if to.Timeline == "" {
			continue
		}

		p := losses.Promoted{Shard: sh.id, Kind: sh.kind, Fork: to, Line: sh.line.At.Timeline}
		if sh.standby.heard != nil {
			p.Heard = []handover.Heard{*sh.standby.heard}
		}
		forks, index = append(forks, p), append(index, i)
	}

	out, notes := losses.Find(ctx, set, a.Group, forks, time.Now().UTC())

	f.keep(func() {
		for j, i := range index {
			f.shards[i].lost, f.shards[i].lostTold = out[j], true
		}
		f.notes = append(f.notes, notes...)
	})
}

// reason is an error in one line, for people.
func reason(err error, limit time.Duration) string {
	switch {
	case err == nil, errors.Is(err, context.DeadlineExceeded), fail.Is(err, fail.Stalled):
		return fmt.Sprintf("no answer within %s", limit)
	case errors.Is(err, context.Canceled):
		return "it was interrupted"
	}

	return err.Error()
}

// timed are past runs and drills.
type timed struct {
	samples []forecast.Sample
	runs    int
	err     error
	told    bool
}
