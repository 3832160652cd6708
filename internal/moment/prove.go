package moment

import (
	"context"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/moment/evidence"
	"drctl/internal/moment/logtail"
	"drctl/internal/observation"
	"drctl/internal/proof"
	"drctl/internal/proof/prove"
	"drctl/internal/proof/shardlog"
	"drctl/internal/vault"
	"drctl/targets"
)

// Report is what a proof saw, in words that a person can follow.
type Report struct {
	// Accepted: there is no fault.
	Accepted bool `json:"accepted"`
	// Faults are sentences on what is not so.
	Faults []string `json:"faults,omitempty"`
	// Words are sentences on what was checked, in order.
	Words []string `json:"words"`
	// Read is how many bytes of log were read.
	Read uint64 `json:"read_bytes"`
}

// prover holds a cut against what a vault holds.
type prover struct {
	Report
	ctx  context.Context
	v    *vault.Vault
	cut  *targets.Cut
	e    *evidence.Record
	seen *seen
	look proof.Look
}

// Prove computes a cut anew from its evidence, the observations and the logs that the vault
// holds: nothing is remembered, and of what found the cut only values are shared. The policy, if it is not
// nil, is what the platform declares: a cut that was proven by less is refused. A cut that cannot be so
// is no error: the report says why. An error means that the vault did not tell.
func Prove(ctx context.Context, v *vault.Vault, openers map[targets.Kind]shardlog.Opener, cut *targets.Cut, want *Policy) (*Report, error) {
	e, err := evidence.Read(ctx, v, cut)
	if fail.Is(err, fail.Corrupt) || fail.Is(err, fail.NotFound) {
		return &Report{Faults: []string{fail.Cause(err)}}, nil
	}

	if err != nil {
		return nil, err
	}
	p := &prover{ctx: ctx, v: v, cut: cut, e: e}

	for _, step := range []func() error{p.observations, func() error { return p.logs(openers[targets.Postgres]) }, p.masters, p.base, p.check, p.record} {
		if err := step(); err != nil {
			return nil, err
		}

		if len(p.Faults) > 0 {
			break
		}
	}

	if want != nil {
		p.declared(want)
	}
	p.Accepted = len(p.Faults) == 0

	return &p.Report, nil
}

func (p *prover) wrong(format string, args ...any) {
	p.Faults = append(p.Faults, fmt.Sprintf(format, args...))
}

func (p *prover) say(format string, args ...any) {
	p.Words = append(p.Words, fmt.Sprintf(format, args...))
}

// observations reads all that the observer saw at the time: what the evidence names must be there as
// it was, and nothing else between.
func (p *prover) observations() error {
	all, err := read(p.ctx, p.v, p.e.Group, p.e.Since, p.e.Until)
	if err != nil {
		return err
	}

	i := slices.IndexFunc(all, func(s *seen) bool { return s.observer == p.e.Proof.Observer })
	if i < 0 || len(p.e.Batches) == 0 {
		p.wrong("the vault holds nothing that observer %q saw from %s to %s", p.e.Proof.Observer, p.e.Since, p.e.Until)
		return nil
	}

	refs, err := all[i].refs()
	if err != nil {
		return err
	}
	named := map[string]string{}

	// By their last part: the same batch was stored without a folder once.
	for _, r := range p.e.Batches {
		named[path.Base(r.Key)] = r.SHA256
	}

	// What an observer stored before the first that is named, or after the last, may overlap with
	// it: of each server it saw earlier, or later, instants.
	found, oldest, newest := 0, 0, 0
	for j, r := range refs {
		switch sum, ok := named[path.Base(r.Key)]; {
		case ok && sum != r.SHA256:
			p.wrong("the observations %s are not those that the cut was read with", r.Key)
		case ok:
			if found++; found == 1 {
				oldest = j
			}
			newest = j
		}
	}

	var kept []observation.Batch
	for j, r := range refs {
		if _, ok := named[path.Base(r.Key)]; ok {
			kept = append(kept, all[i].batches[j])
		} else if oldest < j && j < newest {
			p.wrong("the observations %s are not named, and are of that time", r.Key)
		}
	}

	if found != len(named) {
		p.wrong("of %d batches of observations %d are there", len(named), found)
	}

	if len(p.Faults) == 0 {
		p.seen = sorted(kept)[0]
		p.look = proof.Look{Observer: p.e.Proof.Observer, Holds: p.e.Holds}
		p.say("%d batches of observations of observer %s, from %s to %s, are as they were.", found, p.e.Proof.Observer, stamp(p.e.Since), stamp(p.e.Until))
	}

	return nil
}

// logs reads the named parts of the logs anew.
func (p *prover) logs(opener shardlog.Opener) error {
	for _, l := range p.e.Logs {
		if len(l.Timelines) == 0 {
			p.wrong("%s: no timeline is named", l.Shard)
			return nil
		}

		all := p.run(&l)
		if len(p.Faults) > 0 {
			return nil
		}

		res, err := logtail.New(p.v, opener, l.Shard).Again(p.ctx, l.Span, all)
		switch {
		case fail.Is(err, fail.NotFound), fail.Is(err, fail.Corrupt), fail.Is(err, fail.Invalid):
			p.wrong("%s: %s", l.Shard, fail.Cause(err))
			return nil
		case err != nil:
			return err
		case foreign(res, all):
			p.wrong("%s: the log is not that of the server whose clock was asked", l.Shard)
			return nil
		}
		p.Read += l.To - l.Start
		p.look.Stretches = append(p.look.Stretches, res.Stretch)
		p.say("%s: the log of timeline %s was read anew from %s to %s: %d records in question and %d before them; its server was asked %d times.",
			l.Shard, l.Timeline(), targets.FormatLSN(l.Start), targets.FormatLSN(l.To), len(res.Records), len(res.Earlier), len(all))
	}

	return nil
}

// run is what was seen of the run of the server that the evidence names, on the timeline of
// its log. Another run that said that it wrote the same timeline meanwhile is a fault.
func (p *prover) run(l *evidence.Log) (all []observation.Observation) {
	for _, r := range p.seen.runs[l.Shard] {
		for _, o := range r.all {
			if r.server == l.Server && o.Timeline == l.Timeline() {
				all = append(all, o)
			}
		}
	}

	if len(all) == 0 {
		p.wrong("%s: nobody saw run %q of its server on timeline %s", l.Shard, l.Server, l.Timeline())
		return nil
	}

	for _, r := range p.seen.runs[l.Shard] {
		for _, o := range r.all {
			if r.server != l.Server && o.Timeline == l.Timeline() && all[0].T0 <= o.T1 && o.T0 <= p.e.Proof.Gap.To {
				p.wrong("%s: two servers said that they write timeline %s at one time", l.Shard, o.Timeline)
				return nil
			}
		}
	}

	return all
}

// masters takes the claimed markers that were truly seen.
func (p *prover) masters() error {
	for _, m := range p.e.Proof.Redis {
		one := proof.Master{Shard: m.Shard, Paused: m.Paused}

		for _, r := range p.seen.runs[m.Shard] {
			for _, o := range r.all {
				if o.T0 == m.From && o.T1 == m.To && o.Timeline == m.Timeline && o.Inserted == m.Position && (o.Paused || !m.Paused) {
					one.Markers = []proof.Marker{m.Marker}
				}
			}
		}
		p.look.Masters = append(p.look.Masters, one)
	}

	return nil
}

// check has the claim checked by the checker that knows nothing of the search.
func (p *prover) check() error {
	has := func(mode string) bool { return slices.Contains(p.e.Modes, mode) }

	r := prove.Check(&p.e.Proof, &p.look, &proof.Policy{Tagged: has(targets.ModeTagged), TwoPhase: has(targets.ModeTwoPhase), Gated: has(targets.ModeGate),
		Limit: p.e.Limit, GIDs: p.e.GIDs, Drift: p.e.Drift})
	p.Words = append(p.Words, r.Words...)

	if p.e.Proof.Hold != nil {
		p.say("That it was held is the word of who took the cut: the logs do not show it.")
	}

	for _, f := range r.Faults {
		if f.Shard != (targets.ShardID{}) {
			f.Text = f.Shard.String() + ": " + f.Text
		}

		p.wrong("%s", f.Text)
	}

	if !p.e.Auto {
		return nil
	}

	for _, s := range p.look.Stretches {
		for _, r := range append(slices.Clone(s.Earlier), s.Records...) {
			if len(r.Tags) > 0 && !has(targets.ModeTagged) {
				p.wrong("%s: the logs have tags, and the cut was read as if there were none", s.Shard)
				return nil
			}

			if (r.GID != "" || r.Kind == proof.CommitPrepared) && !has(targets.ModeTwoPhase) {
				p.wrong("%s: the logs have prepared transactions, and the cut was read as if there were none", s.Shard)
				return nil
			}
		}
	}

	return nil
}

// record demands that the record of the cut says what was proven, of the same shards, and no more.
func (p *prover) record() error {
	want := map[targets.ShardID]targets.Position{}
	for _, s := range p.e.Proof.Shards {
		want[s.Shard] = targets.Position{Kind: targets.Postgres, Timeline: s.Timeline, Offset: s.Position}
	}

	for _, m := range p.e.Proof.Redis {
		want[m.Shard] = targets.Position{Kind: targets.Redis, Timeline: m.Timeline, Offset: m.Position}
	}
	at, doubts := p.seen.wall(p.e.Proof.T), doubts(p.e.Proof.InDoubt)
	said := map[targets.ShardID]bool{}

	for _, a := range p.cut.Without {
		said[a.Shard] = true
	}

	for _, s := range p.cut.Shards {
		is := s.Position
		said[s.Shard] = true

		if s.Kind.Traits().Manifest {
			p.objects(s, at)
			continue
		}

		proven, ok := want[s.Shard]
		if is.RestorePoint = ""; !ok || is != proven {
			p.wrong("%s: the cut's record says %s at %d, and proven is %s at %d", s.Shard, is.Timeline, is.Offset, proven.Timeline, proven.Offset)
		}

		if !reflect.DeepEqual(s.InDoubt, doubts[s.Shard]) {
			p.wrong("%s: the cut's record has other transactions in doubt, or does something else with them", s.Shard)
		}

		delete(want, s.Shard)
	}

	for s := range want {
		p.wrong("%s: the cut's record leaves it out", s)
	}

	for s := range p.seen.runs {
		if !said[s] {
			p.wrong("%s: the observer saw it as a shard of the group, and the cut leaves it out", s)
		}
	}

	for _, a := range p.cut.Without {
		p.say("%s is not in the cut, which is partial: %s. Nothing is proven of it: of a global transaction that has a part there that part is missing.", a.Shard, a.Why)
	}

	p.summary(at)
	p.listed()

	return nil
}

// objects holds the objects against the instant: those of a moment that was named afterwards are
// those of the last snapshot before it.
func (p *prover) objects(s targets.ShardPoint, at time.Time) {
	switch as := s.Position.AsOf; {
	case as.Before(at) && p.cut.Name != "":
		p.say("%s: the objects are those of %s, %s before the instant.", s.Shard, stamp(as), at.Sub(as))
	case !as.Equal(at):
		p.wrong("%s: the objects are as of %s, and the cut is of %s", s.Shard, stamp(as), stamp(at))
	}
}

// summary holds what the record of the cut says of its proof against the claim.
func (p *prover) summary(at time.Time) {
	is, c := p.cut.Proof, &p.e.Proof

	if is.Grade != targets.Grade(c.Grade) || !is.At.Equal(at) || !p.cut.QuiescedAt.Equal(at) || is.Gap != time.Duration(c.Gap.Width()) ||
		!slices.Equal(is.Modes, p.e.Modes) || is.Auto != p.e.Auto || is.Tags != c.Tags || is.Groups != c.Groups ||
		is.Half != len(c.Half) {
		p.wrong("the cut's record says that it is %s, of %s, by %v, and proven is %s, of %s, by %v", is.Grade, stamp(is.At), is.Modes, c.Grade, stamp(at), p.e.Modes)
	}

	p.say("The cut is %s, of %s by the observer's clock, by %s; %d tagged global transactions and %d in two phases were seen.",
		c.Grade, stamp(at), strings.Join(p.e.Modes, " and "), c.Tags, c.Groups)
}

// declared refuses a cut that was proven by less than the platform declares.
func (p *prover) declared(want *Policy) {
	for _, m := range want.Modes {
		switch {
		case slices.Contains(p.e.Modes, m):
		case m != targets.ModeLocks:
			p.wrong("the platform declares %s, and the cut was proven without it", m)
		case p.e.Auto && p.e.Proof.Grade == proof.Proven:
			p.wrong("in mode locks the platform does not say what belongs together, and the cut was proven by what the logs show of it")
		}
	}

	if int64(want.Limit) != p.e.Limit || want.GIDs != p.e.GIDs || want.Drift != p.e.Drift {
		p.wrong("the policy was another: limit %s, gids %q, drift %d", time.Duration(p.e.Limit), p.e.GIDs, p.e.Drift)
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }
