package moment

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"drctl/internal/moment/evidence"
	"drctl/internal/moment/logtail"
	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/shardlog"
	"drctl/internal/vault"
	"drctl/targets"
)

const (
	// farthest is how far back the log is read at most for transactions that have been
	// open or prepared for long; and once that was done in vain it is not tried again for tryAgain.
	farthest = time.Hour
	tryAgain = 10 * time.Minute
)

// aside are how far before the time wanted a moment is looked for, one after the other. The
// first are for the best grade alone: a better moment a little earlier is worth more than a lesser one.
var aside = []time.Duration{2 * time.Second, 15 * time.Second, 90 * time.Second, 10 * time.Minute}

const forTheBest = 2

// Finder finds moments in one vault. It remembers the ends of the logs that it read, so
// that who finds again and again has one. It is safe for concurrent use.
type Finder struct {
	vault   *vault.Vault
	openers map[targets.Kind]shardlog.Opener

	mu    sync.Mutex
	tails map[targets.ShardID]*keptTail
	vain  map[string]time.Time // when the log of a group was last read far back in vain
	saw   map[string]recent    // what was seen of a group
	bases map[string]*evidence.Bases
}

// recent are the batches of a group that were read a moment ago: all that there were between two times.
type recent struct {
	since, until time.Time
	all          []observation.Batch
}

// overlap is how much of what was read a moment ago is read once more: batches are stored
// one after the other, but not at once.
const overlap = 10 * time.Second

type keptTail struct {
	sync.Mutex
	tail *logtail.Tail
}

// New makes a finder. The openers are the drivers' parts that read logs.
func New(v *vault.Vault, openers map[targets.Kind]shardlog.Opener) *Finder {
	return &Finder{vault: v, openers: openers, tails: map[targets.ShardID]*keptTail{}, vain: map[string]time.Time{}, saw: map[string]recent{}, bases: map[string]*evidence.Bases{}}
}

// Find is that of a finder that remembers nothing.
func Find(ctx context.Context, v *vault.Vault, openers map[targets.Kind]shardlog.Opener, req Request) (*Found, error) {
	return New(v, openers).Find(ctx, req)
}

// Find finds the moment of the best grade that is wished for. The error has code not-found
// where there is none of an acceptable grade; Obstacles says why.
func (f *Finder) Find(ctx context.Context, req Request) (*Found, error) {
	if err := req.check(); err != nil {
		return nil, err
	}

	if !req.Wish.At.IsZero() {
		return f.before(ctx, &req)
	}

	all, err := f.within(ctx, &req, proof.Widest)
	if err != nil {
		return nil, err
	}

	return all[0], nil
}

// All finds all moments that are wished for, in order of time, at most as many as given; each
// of the best grade that there is in what one observer saw.
func (f *Finder) All(ctx context.Context, req Request, most int) ([]*Found, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	all, err := f.within(ctx, &req, proof.All)

	return all[:min(len(all), most)], err
}

// within finds moments within a time.
func (f *Finder) within(ctx context.Context, req *Request, pick proof.Pick) ([]*Found, error) {
	since, until := req.Wish.From, req.Wish.Until
	if req.Wish.Observer != "" {
		since = cmp.Or(req.Wish.Around, time.Now())
		until = since
	}

	look := f.lately
	if req.Wish.Observer == "" {
		look = f.read
	}

	hints, err := look(ctx, req.Group, since.Add(-req.Policy.back()-after), until.Add(after))
	if err != nil {
		return nil, err
	}

	var found []*Found

	none := &None{}
	for _, s := range hints {
		w := want{window: req.Wish.Span, hints: hints, warm: req.Wish.Observer != ""}
		if w.warm && s.observer != req.Wish.Observer {
			continue
		}

		if !w.warm {
			var ok bool
			if w.window, ok = s.window(since, until); !ok {
				continue
			}
		}

		some, err := f.search(ctx, req, s, w, proof.Policy{Pick: pick, Window: &w.window, Grades: req.grades()}, none)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}

	if len(found) == 0 {
		return nil, nothing(req, none)
	}

	return found, nil
}

// window is what an observer saw of a wall time, and whether that is anything.
func (s *seen) window(since, until time.Time) (w proof.Span, ok bool) {
	if len(s.samples) == 0 {
		return w, false
	}
	w = proof.Span{From: s.samples[0].T0, To: s.samples[len(s.samples)-1].T1}

	if from, ok := clock.AtWall(s.samples, since); ok {
		w.From = max(w.From, from)
	}

	to, ok := clock.AtWall(s.samples, until)
	w.To = min(w.To, to)

	return w, ok && w.From < w.To
}

// before finds the last moment at or before a time.
func (f *Finder) before(ctx context.Context, req *Request) (*Found, error) {
	none := &None{}
	at, grades := req.Wish.At, req.grades()

	for i, d := range aside {
		if i < forTheBest {
			grades = grades[:1]
		} else {
			grades = req.grades()
		}

		hints, err := f.read(ctx, req.Group, at.Add(-d-req.Policy.back()-after), at.Add(after))
		if err != nil {
			return nil, err
		}

		none = &None{}
		for _, s := range slices.Backward(hints) {
			window, ok := s.window(at.Add(-d), at)
			if !ok {
				continue
			}

			found, err := f.search(ctx, req, s, want{window: window, hints: hints}, proof.Policy{Pick: proof.Before, At: window.To, Window: &window, Grades: grades}, none)
			if err != nil {
				return nil, err
			}

			if len(found) > 0 {
				return found[0], nil
			}
		}
	}

	return nil, nothing(req, none)
}

// search looks at what one observer saw, and at older log where that would help. It adds
// what was in the way to none.
func (f *Finder) search(ctx context.Context, req *Request, s *seen, w want, how proof.Policy, none *None) ([]*Found, error) {
	wall := s.wall(w.window.To)

	for w.back = req.Policy.back(); ; w.back *= 4 {
		look, err := f.sight(ctx, req, s, w)
		if n, ok := errors.AsType[*None](err); ok {
			none.Obstacles = append(none.Obstacles, n.Obstacles...)
			return nil, nil
		}

		if err != nil {
			return nil, err
		}
		policy, modes := req.Policy.decide(&look.look)
		policy.Pick, policy.At, policy.Window, policy.Grades = how.Pick, how.At, how.Window, how.Grades

		res, err := look.find(policy)
		if err != nil {
			return nil, err
		}

		if deeper(look, res) && f.mayTry(req.Group, wall) {
			if w.back*4 <= farthest {
				continue
			}

			f.tried(req.Group, wall)
		}

		none.words(res, req.Policy.Limit)

		return look.found(req, &policy, modes, res)
	}
}

// deeper reports whether older log might tell what was not known, and matters.
func deeper(look *sight, res *proof.Result) bool {
	whole := !slices.Contains(look.missing, shardlog.NotWhole) && !slices.Contains(look.missing, shardlog.LateWhole)
	nameless := func(o proof.Obstacle) bool {
		return o.Why == proof.HalfDoneThen && o.ID == proof.NamelessID || o.Why == proof.LogTooShort
	}

	return !whole && slices.ContainsFunc(res.Obstacles, nameless)
}

// read reads what was seen of a group between two times.
func (f *Finder) read(ctx context.Context, group string, since, until time.Time) ([]*seen, error) {
	return read(ctx, f.vault, group, since, until)
}

// lately is read for who asked a moment ago: it reads what is new.
func (f *Finder) lately(ctx context.Context, group string, since, until time.Time) ([]*seen, error) {
	f.mu.Lock()
	r := f.saw[group]
	f.mu.Unlock()

	from := since
	if !r.since.After(since) && r.until.After(since) {
		from = r.until.Add(-overlap)
	} else {
		r.all = nil
	}

	fresh, err := load(ctx, f.vault, group, from, until)
	if err != nil {
		return nil, err
	}

	same := func(a observation.Batch) bool {
		return slices.ContainsFunc(fresh, func(b observation.Batch) bool { return name(&a) == name(&b) })
	}
	all := batches.Since(append(slices.DeleteFunc(slices.Clone(r.all), same), fresh...), since)
	r = recent{since: since, all: all}

	for _, b := range all {
		r.until = later(r.until, b.Ended)
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	f.saw[group] = r

	return sorted(all), nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}

	return b
}

// mayTry reports whether the log of a group was not read far back in vain a moment ago.
func (f *Finder) mayTry(group string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	last, ok := f.vain[group]

	return !ok || now.Sub(last).Abs() > tryAgain
}

func (f *Finder) tried(group string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.vain[group] = now
}

// tail is the remembered end of a shard's log; release lets others have it.
func (f *Finder) tail(shard targets.ShardID) (tail *logtail.Tail, release func()) {
	f.mu.Lock()
	kept := f.tails[shard]

	if kept == nil {
		kept = &keptTail{tail: logtail.New(f.vault, f.openers[targets.Postgres], shard)}
		f.tails[shard] = kept
	}

	f.mu.Unlock()
	kept.Lock()

	return kept.tail, kept.Unlock
}
