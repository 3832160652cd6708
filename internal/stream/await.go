package stream

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/internal/retry"
	"drctl/internal/vault"
	"drctl/targets"
)

// AwaitDurable waits until as many vaults as the set's Durability each hold the
// log from one position to another. It returns the regions of all vaults that
// hold it by then, and ctx's end as an error of code stalled that names the
// vaults that lag. Missing, which may be nil, is told after every poll how many
// bytes are missing still, as far as the vaults show it. A vault that cannot be
// reached is tried again.
func AwaitDurable(ctx context.Context, set vault.Set, shard targets.ShardID, from, at targets.Position, poll time.Duration, missing func(bytes uint64)) ([]string, error) {
	watches := make([]*watch, len(set.Vaults))
	for i, v := range set.Vaults {
		watches[i] = &watch{trail: given(v, shard, from), at: at}
	}

	in, err := await(ctx, set, watches, poll, missing)

	return slices.Sorted(maps.Keys(in)), err
}

// given is a trail for which only one beginning counts.
func given(v *vault.Vault, shard targets.ShardID, from targets.Position) *Trail {
	t := NewTrail(v, shard)
	t.base = &targets.Artifact{ID: "given", Shard: shard, From: from, Until: from}

	return t
}

// AwaitRecoverable waits until the position can be recovered from as many
// vaults as the set's Durability: a base of each and an unbroken log lead to it.
// Known, which may be nil, names a position that is known to be recoverable
// from a vault; the search begins there. It returns as AwaitDurable does, for each
// region with the ID of the base that leads there, and an error of code not-found
// when no base leads there in so many vaults that the others are too few.
func AwaitRecoverable(ctx context.Context, set vault.Set, shard targets.ShardID, at targets.Position,
	known func(context.Context, *vault.Vault) (Foothold, error), poll time.Duration, missing func(bytes uint64)) (map[string]string, error) {
	watches := make([]*watch, len(set.Vaults))
	for i, v := range set.Vaults {
		watches[i] = &watch{trail: NewTrail(v, shard), at: at, known: known}
	}

	return await(ctx, set, watches, poll, missing)
}

// baseGrace is how long a base may take to be recorded that was finished before
// the position: until then its vault has none that leads there.
var baseGrace = 5 * time.Second

// watch asks one vault again and again.
type watch struct {
	trail *Trail
	at    targets.Position
	known func(context.Context, *vault.Vault) (Foothold, error) // until it has told
}

func (w *watch) ask(ctx context.Context) (Lead, error) {
	if w.known != nil {
		at, err := w.known(ctx, w.trail.v)
		if err != nil {
			return Lead{}, err
		}

		w.trail.Know(at)
		w.known = nil
	}

	return w.trail.To(ctx, w.at)
}

// heard is what a vault has shown last.
type heard struct {
	any  bool
	lead Lead
	err  error
}

func (h heard) done() bool { return h.err == nil && h.lead.Held() }

// baseless reports whether the vault has told that no base leads there.
func (h heard) baseless() bool { return h.any && h.err == nil && h.lead.Why != "" }

// answer is what the i-th vault has told.
type answer struct {
	i int
	heard
}

// keepAsking asks one vault until it holds the position or ctx ends.
func (w *watch) keepAsking(ctx context.Context, i int, poll time.Duration, answers chan<- answer) {
	for {
		begin := time.Now()

		lead, err := w.ask(ctx)
		if ctx.Err() != nil {
			return // the end says nothing of the vault
		}

		h := heard{true, lead, err}
		select {
		case answers <- answer{i, h}:
		case <-ctx.Done():
			return
		}

		if h.done() {
			return
		}
		// What takes long to list is not listed all the time.
		wait := max(poll, 2*time.Since(begin))
		if h.baseless() {
			wait = max(wait, time.Second)
		}

		if retry.Sleep(ctx, wait) != nil {
			return
		}
	}
}

func await(parent context.Context, set vault.Set, watches []*watch, poll time.Duration, missing func(bytes uint64)) (map[string]string, error) {
	if poll <= 0 {
		poll = 200 * time.Millisecond
	}

	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	// Each vault is asked for itself: one that is silent must not keep the
	// others from being heard.
	answers := make(chan answer)
	for i, w := range watches {
		go w.keepAsking(ctx, i, poll, answers)
	}
	q := quorum{watches: watches, need: set.Need(), begin: time.Now(),
		known: make([]heard, len(watches)), asked: make([]bool, len(watches))}

	var late, baseless <-chan time.Time
	for {
		select {
		case a := <-answers:
			q.known[a.i] = a.heard
			if missing != nil {
				q.tell(missing)
			}

			if len(q.have()) < q.need {
				baseless = q.baseless(baseless)
				continue
			}

			if late == nil {
				late = time.After(vault.Straggle)
			} else {
				q.asked[a.i] = true
			}

			if q.settled() {
				return q.have(), nil
			}
		case <-late:
			return q.have(), nil
		case <-baseless:
			return q.have(), q.noBase()
		case <-parent.Done():
			return q.have(), q.late(parent.Err())
		}
	}
}

// quorum is what the vaults have told so far.
type quorum struct {
	watches []*watch
	need    int
	begin   time.Time
	known   []heard
	asked   []bool // since enough vaults hold it
}

// have names the regions whose vaults hold the position, and the bases that lead there.
func (q *quorum) have() map[string]string {
	in := map[string]string{}
	for i, h := range q.known {
		if h.done() {
			in[q.watches[i].trail.v.Region()] = h.lead.Base.ID
		}
	}

	return in
}

// tell says how many bytes the vault lacks for which the durability waits.
func (q *quorum) tell(missing func(bytes uint64)) {
	var lack []uint64
	for _, h := range q.known {
		if !h.any && time.Since(q.begin) < vault.Straggle {
			return
		}

		if h.any && h.err == nil && h.lead.Base.ID != "" {
			lack = append(lack, h.lead.Missing)
		}
	}

	if slices.Sort(lack); len(lack) >= q.need {
		missing(lack[q.need-1])
	}
}

// baseless starts the time after which it is given up for want of a base, or
// stops it when enough vaults may come to hold the position after all.
func (q *quorum) baseless(running <-chan time.Time) <-chan time.Time {
	left, none := 0, 0
	for _, h := range q.known {
		if !h.baseless() {
			left++
		} else if h.lead.Why == noBaseYet {
			none++
		}
	}

	switch {
	case left >= q.need:
		return nil
	case none == len(q.known):
		return time.After(0)
	case running == nil:
		return time.After(baseGrace)
	}

	return running
}

// settled reports whether every vault holds it, or was asked once more.
func (q *quorum) settled() bool {
	for i, h := range q.known {
		if !h.done() && !q.asked[i] {
			return false
		}
	}

	return true
}

// noBase is the error when no base leads to the position.
func (q *quorum) noBase() error {
	w := q.watches[0]

	return fail.New(fail.NotFound, "stream: recoverable", w.trail.shard.String(),
		"take one with: drctl backup now (after a hole the archiver asks for one by itself)",
		fmt.Errorf("timeline %s at %d cannot be recovered: %s", w.at.Timeline, w.at.Offset, q.reasons()))
}

// late is the error when the time is up.
func (q *quorum) late(cause error) error {
	w := q.watches[0]

	return fail.New(fail.Stalled, "stream: wait until durable", w.trail.shard.String(),
		"see whether the shard's archiver runs and the vaults answer",
		fmt.Errorf("timeline %s is not yet held up to %d by %s: %w", w.at.Timeline, w.at.Offset, q.reasons(), cause))
}

// reasons names the vaults that do not hold the position.
func (q *quorum) reasons() string {
	out := ""
	for i, h := range q.known {
		region, why := q.watches[i].trail.v.Region(), ""
		switch {
		case h.done():
			continue
		case h.err != nil:
			why = h.err.Error()
		case !h.any:
			why = "no answer"
		case h.lead.Why != "":
			why = h.lead.Why
		case h.lead.Base.ID == "":
			why = "its beginning is not there"
		default:
			why = fmt.Sprintf("%d bytes missing", h.lead.Missing)
		}

		if out != "" {
			out += ", "
		}
		out += region + " (" + why + ")"
	}

	return out
}
