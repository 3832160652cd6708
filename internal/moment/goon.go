package moment

import (
	"context"
	"slices"
	"time"

	"drctl/internal/moment/evidence"
	"drctl/internal/proof"
	"drctl/targets"
)

// baseWithin is how much older the base of a look at the past may be: the log
// from there on is read for it.
const baseWithin = 10 * time.Minute

// goOn finds the cut that the list of broken global transactions goes on from: the newest one
// that lies before all parts. What is wanted of the logs is wanted from there on then; nil if there is none.
func (f *Finder) goOn(ctx context.Context, req *Request, s *seen, w want, parts []part) (*evidence.Base, error) {
	within := baseWithin
	if w.warm {
		within = farthest
	}
	at := s.wall(w.window.To)

	index := map[targets.ShardID]int{}
	for i := range parts {
		index[parts[i].shard] = i
	}

	fits := func(b *evidence.Base) bool {
		return len(b.Places) == len(parts) && !slices.ContainsFunc(b.Places, func(p proof.Place) bool {
			i, ok := index[p.Shard]
			return !ok || p.Position > parts[i].wanted.From
		})
	}
	like := &evidence.Record{Group: req.Group, Limit: int64(req.Policy.Limit), GIDs: req.Policy.GIDs}

	f.mu.Lock()
	known := f.bases[req.Group] // for one at a time
	delete(f.bases, req.Group)
	f.mu.Unlock()

	if known == nil {
		known = &evidence.Bases{}
	}

	base, err := known.Find(ctx, f.vault, like, at.Add(-within), at, fits)

	f.mu.Lock()
	f.bases[req.Group] = known
	f.mu.Unlock()

	if base == nil || err != nil {
		return nil, err
	}

	starts := base.Starts()

	for _, place := range base.Places {
		wanted := &parts[index[place.Shard]].wanted
		if from, ok := starts[place.Shard]; ok {
			wanted.Afresh = min(wanted.Start, from)
		}

		wanted.Known = min(wanted.Known, place.Position)
	}

	return base, nil
}

// base takes what the evidence says of the cut that it goes on from, if that cut says so too. One that
// the vault holds no more is believed, and that is said.
func (p *prover) base() error {
	b := p.e.Base
	if b == nil {
		return nil
	}

	there, fault, err := b.Holds(p.ctx, p.v, p.e)
	switch {
	case err != nil:
		return err
	case fault != "":
		p.wrong("the list of broken global transactions goes on from cut %s: %s", b.Cut, fault)
		return nil
	case there:
		p.say("The list of broken global transactions goes on from cut %s, which lists %d, as its evidence says; it can be proven as this one.", b.Cut, len(b.Kept))
	default:
		p.say("The list of broken global transactions goes on from cut %s, which listed %d. The vault no longer holds its evidence: that is taken from this one's.", b.Cut, len(b.Kept))
	}

	if !b.Under(p.look.Stretches, p.e.Logs) {
		p.wrong("the logs do not lead over cut %s, from which the list of broken global transactions goes on", b.Cut)
	}
	p.look.Base = &b.Base

	return nil
}

// listed holds what the record of the cut says of what is broken against the claim.
func (p *prover) listed() {
	want := *p.e
	want.Tell(p.seen.wall)

	if !want.Same(p.e) || !want.Says(p.cut.Proof) {
		p.wrong("the evidence, or the cut's record, says of the broken global transactions, or since when it lists all, what is not so")
		return
	}

	if p.e.Complete.IsZero() {
		p.say("Nothing is known of what was half done before the logs that were read: the list of broken global transactions may lack some.")
	} else {
		p.say("%d broken global transactions are listed: all that were half done since %s.", len(p.e.Proof.Broken), stamp(p.e.Complete))
	}
}
