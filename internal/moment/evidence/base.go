package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/shardlog"
	"drctl/internal/vault"
	"drctl/targets"
)

// Base is what a list of broken global transactions goes on from: an earlier cut.
type Base struct {
	Cut string `json:"cut"`
	// SHA256 is of that cut's evidence.
	SHA256 string `json:"sha256"`
	proof.Base
	// Since is when each of the kept ones was half done at the latest.
	Since []time.Time `json:"since,omitempty"`
	// Complete and Older are as in that cut's record.
	Complete time.Time `json:"complete,omitzero"`
	Older    int       `json:"older,omitempty"`

	// logs are those that that cut was read from.
	logs []Log
}

// Starts are from where the logs of the shards were read for the base: who reads from there on knows what it
// knew.
func (b *Base) Starts() map[targets.ShardID]uint64 {
	starts := map[targets.ShardID]uint64{}
	for _, l := range b.logs {
		starts[l.Shard] = l.Start
	}

	return starts
}

// Under reports whether the base lies under stretches of log, so that they know all that was tagged
// since; logs say how they were read.
func (b *Base) Under(stretches []proof.Stretch, logs []Log) bool {
	places := map[targets.ShardID]proof.Place{}
	for _, p := range b.Places {
		places[p.Shard] = p
	}

	for i, s := range stretches {
		place, ok := places[s.Shard]
		if !ok || s.Known == 0 || s.Known > place.Position || place.Position > s.From || !logs[i].leads(place) {
			return false
		}
	}

	return true
}

// leads reports whether a log leads over a place.
func (l *Log) leads(p proof.Place) bool {
	i := slices.IndexFunc(l.Timelines, func(t shardlog.Timeline) bool { return t.Name == p.Timeline })
	return i >= 0 && (i+1 == len(l.Timelines) || p.Position <= l.Timelines[i+1].Begin)
}

// base is what a cut is to later ones; nil where it is none: it must have left nothing half
// done but what it lists, and its list must not end with it.
func (r *Record) base(sum string) *Base {
	c := r.Proof
	declared := slices.Contains(r.Modes, targets.ModeTagged) || slices.Contains(r.Modes, targets.ModeTwoPhase)

	if len(c.Half) > 0 || r.Complete.IsZero() || !c.Based && !(c.Grade == proof.Proven && declared) {
		return nil
	}

	b := &Base{Cut: r.Cut, SHA256: sum, Complete: r.Complete, Older: r.Older, logs: r.Logs, Base: proof.Base{Kept: c.Kept}}
	for _, s := range c.Shards {
		b.Places = append(b.Places, proof.Place{Shard: s.Shard, Timeline: s.Timeline, Position: s.Position})
	}

	for _, k := range c.Kept {
		b.Since = append(b.Since, r.since(k))
	}

	return b
}

func (r *Record) since(k proof.Kept) (at time.Time) {
	for i, h := range r.Proof.Broken {
		if h.ID == k.ID && h.TwoPhase == k.TwoPhase && i < len(r.BrokenSince) {
			return r.BrokenSince[i]
		}
	}

	return at
}

// Tell says of the list of the record's claim what wall clocks say: of what the base listed, as
// that does, and of the rest as the observer's wall clock does.
func (r *Record) Tell(wall func(clock.Instant) time.Time) {
	r.BrokenSince, r.Complete, r.Older = nil, time.Time{}, r.Proof.More

	switch b := r.Base; {
	case r.Proof.Complete != nil:
		r.Complete = wall(*r.Proof.Complete)
	case r.Proof.Based && b != nil:
		r.Complete = b.Complete
	}

	if r.Base != nil && r.Proof.Based {
		r.Older += r.Base.Older
	}

	for _, h := range r.Proof.Broken {
		at := wall(h.Since)

		if b := r.Base; b != nil {
			for i, k := range b.Kept {
				if k.ID == h.ID && k.TwoPhase == h.TwoPhase && i < len(b.Since) && b.Since[i].Before(at) {
					at = b.Since[i]
				}
			}
		}
		r.BrokenSince = append(r.BrokenSince, at)
	}
}

// Listed are the broken ones that the record of a cut names: those that are so for the
// shortest time, at most targets.MaxBroken.
func (r *Record) Listed() (all []targets.BrokenGlobal) {
	for i, h := range r.Proof.Broken {
		all = append(all, targets.BrokenGlobal{ID: Text(h.ID), TwoPhase: h.TwoPhase, Done: h.Done, Want: h.Want, Shards: h.Shards, Since: r.BrokenSince[i]})
	}

	slices.SortStableFunc(all, func(a, b targets.BrokenGlobal) int { return b.Since.Compare(a.Since) })

	return all[:min(len(all), targets.MaxBroken)]
}

// Same reports whether another record tells the same of the list.
func (r *Record) Same(o *Record) bool {
	return r.Older == o.Older && r.Complete.Equal(o.Complete) && slices.EqualFunc(r.BrokenSince, o.BrokenSince, time.Time.Equal)
}

// Says reports whether the record of the cut says of what is broken what this one does.
func (r *Record) Says(is *targets.CutProof) bool {
	same := func(a, b targets.BrokenGlobal) bool {
		return a.ID == b.ID && a.TwoPhase == b.TwoPhase && a.Done == b.Done && a.Want == b.Want && a.Since.Equal(b.Since) && slices.Equal(a.Shards, b.Shards)
	}

	return is.BrokenComplete.Equal(r.Complete) && is.BrokenCount == len(r.Proof.Broken)+r.Older && slices.EqualFunc(is.Broken, r.Listed(), same)
}

// Bases finds earlier cuts for later ones. It remembers those that it read. It is not
// safe for concurrent use.
type Bases struct{ known map[string]*Base }

// mostRead is how many cuts are looked at for one that fits.
const mostRead = 20

// Find is the newest base of a group between two times that fits, by the ids of the cuts; nil if
// there is none. One that cannot be read does not fit. What limits and gids it must have been made with is in like.
func (b *Bases) Find(ctx context.Context, v *vault.Vault, like *Record, since, until time.Time, fits func(*Base) bool) (*Base, error) {
	prefix := vault.CutsPrefix(like.Group)

	var ids []string
	for info, err := range v.Store().List(ctx, prefix, prefix+targets.IDTime(since)) {
		if err != nil {
			return nil, err
		}

		id, _, ok := strings.Cut(strings.TrimPrefix(info.Key, prefix), ".proof.")
		if ok && info.Key == vault.EvidenceKey(like.Group, id) && targets.MadeBefore(id, until) {
			ids = append(ids, id)
		}
	}

	known := b.known
	b.known = map[string]*Base{}

	ids = ids[max(0, len(ids)-mostRead):]
	for _, id := range slices.Backward(ids) {
		base, ok := known[id]
		if !ok {
			var err error
			if base, err = readBase(ctx, v, like, id); err != nil {
				return nil, err
			}
		}
		b.known[id] = base

		if base != nil && fits(base) {
			return base, nil
		}
	}

	return nil, nil
}

// readBase reads a cut's evidence for what it is to later ones.
func readBase(ctx context.Context, v *vault.Vault, like *Record, id string) (*Base, error) {
	content, _, err := v.ReadEncrypted(ctx, vault.EvidenceKey(like.Group, id))
	if fail.Is(err, fail.NotFound) || fail.Is(err, fail.Corrupt) {
		return nil, nil
	}

	if err != nil {
		return nil, err
	}

	r, err := decode(content)
	if err != nil || r.Group != like.Group || r.Cut != id || r.Limit != like.Limit || r.GIDs != like.GIDs {
		return nil, nil
	}
	is := sha256.Sum256(content)

	return r.base(hex.EncodeToString(is[:])), nil
}

// Holds reports what a base says that the evidence of its cut does not; "" for nothing. Where the
// vault holds that no more, there is false.
func (b *Base) Holds(ctx context.Context, v *vault.Vault, like *Record) (there bool, fault string, err error) {
	content, _, err := v.ReadEncrypted(ctx, vault.EvidenceKey(like.Group, b.Cut))

	switch {
	case fail.Is(err, fail.NotFound):
		return false, "", nil
	case fail.Is(err, fail.Corrupt):
		return true, fail.Cause(err), nil
	case err != nil:
		return false, "", err
	}

	if is := sha256.Sum256(content); hex.EncodeToString(is[:]) != b.SHA256 {
		return true, "it is not the evidence that is named", nil
	}

	r, err := decode(content)
	if err != nil {
		return true, err.Error(), nil
	}

	of := r.base(b.SHA256)
	if of == nil || r.Limit != like.Limit || r.GIDs != like.GIDs || r.Group != like.Group {
		return true, "that cut is none to go on from", nil
	}

	is, _ := json.Marshal(b)
	want, _ := json.Marshal(of)

	if string(is) != string(want) {
		return true, "that cut lists others", nil
	}

	return true, "", nil
}
