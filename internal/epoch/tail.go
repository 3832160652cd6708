package epoch

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
)

// Store is what a voter keeps its records in; vault.Store is one. Put must refuse
// a key that exists, and Get and List must know everything that was put before
// they were called.
type Store interface {
	Put(ctx context.Context, key string, body []byte) error
	Get(ctx context.Context, key string) (io.ReadCloser, error)
	List(ctx context.Context, prefix, after string) iter.Seq2[vault.Info, error]
	Delete(ctx context.Context, key string) error
	URL() string
}

// How old records are removed without anybody who was stopped for long being
// fooled by a number that is free again. What a cursor has not seen was written
// after it was made. A write counts only while its cursor is younger than fresh,
// and nothing is removed before it has been old for prune, which is longer even
// by clocks that differ by a tenth.
const (
	fresh = 2 * time.Minute
	prune = 10 * time.Minute
)

// tail is the end of a group's sequence in one voter, as far as this process knows it.
type tail struct {
	name  string
	store Store
	log   *Log
	busy  chan struct{} // one operation at a time: one that hangs must not stop the next for ever

	known bool
	seq   uint64
	last  Record        // at seq; zero when the sequence is empty
	made  time.Duration // everything behind seq was written after this
	seen  time.Duration // last was there at this time at the latest

	floor   uint64        // the end of the sequence at floorAt
	floorAt time.Duration // zero is none
	keeps   atomic.Bool   // the store lets nobody remove anything
}

func (t *tail) key(seq uint64) string { return key(t.log.cfg.Group, seq) }

// lock waits for an operation before to end.
func (t *tail) lock(ctx context.Context) error {
	select {
	case t.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fail.New(fail.Unavailable, "epoch: ask", t.name+" ("+t.store.URL()+")", "", errors.New("it has not answered what was asked before"))
	}
}

func (t *tail) unlock() { <-t.busy }

// read reads one record.
func (t *tail) read(ctx context.Context, seq uint64) (Record, error) {
	k := t.key(seq)

	r, err := t.store.Get(ctx, k)
	if err != nil {
		return Record{}, err
	}
	defer r.Close()

	b, err := io.ReadAll(io.LimitReader(r, maxRecord+1))
	if err != nil {
		return Record{}, fail.From(fail.Unavailable, "epoch: read", t.store.URL()+"/"+k, err)
	}

	if b, err = t.log.cfg.Codec.Open(k, b); err != nil {
		return Record{}, err
	}

	rec, err := decode(t.log.cfg.Group, b)
	if err != nil {
		return Record{}, fail.New(fail.Corrupt, "epoch: read", t.store.URL()+"/"+k, "find out who can write to this store besides drctl", err)
	}

	return rec, nil
}

// locate makes the cursor anew, with one listing of the newest name.
func (t *tail) locate(ctx context.Context) error {
	made := t.log.cfg.Clock()

	seq, found := uint64(0), false
	for i, err := range t.store.List(ctx, prefix(t.log.cfg.Group), "") {
		if err != nil {
			return err
		}

		if seq, found = parseKey(t.log.cfg.Group, i.Key); found {
			break // the rest is older, or not ours
		}
	}

	var last Record
	if found {
		var err error
		if last, err = t.read(ctx, seq); err != nil {
			return err
		}
	}

	if !t.known || t.seq != seq {
		t.seen = t.log.cfg.Clock()
	}
	t.known, t.seq, t.last, t.made = true, seq, last, made

	return nil
}

// fresh makes sure that the cursor is young enough to write behind it.
func (t *tail) fresh(ctx context.Context) error {
	if t.known && (t.log.cfg.Clock()-t.made <= t.log.window.fresh || t.log.omit.fresh) {
		return nil
	}

	return t.locate(ctx)
}

// end walks to the end of the sequence: what is new is read, nothing else.
func (t *tail) end(ctx context.Context) (before, error) {
	if err := t.lock(ctx); err != nil {
		return before{}, err
	}
	defer t.unlock()

	if err := t.fresh(ctx); err != nil {
		return before{}, err
	}

	for {
		asked := t.log.cfg.Clock()
		switch rec, err := t.read(ctx, t.seq+1); {
		case fail.Is(err, fail.NotFound) && t.log.cfg.Clock()-t.made > t.log.window.fresh:
			if err := t.locate(ctx); err != nil { // it may have been there and be gone
				return before{}, err
			}
		case fail.Is(err, fail.NotFound):
			t.made = asked
			return before{t.last, t.seen}, nil
		case err != nil:
			return before{}, err
		default:
			t.seq, t.last, t.seen = t.seq+1, rec, t.log.cfg.Clock()
		}
	}
}

// before is what stands in front of a record that was written.
type before struct {
	last Record
	seen time.Duration // it was there at this time at the latest
}

// errAhead is in the error of a voter that has a record which the new one must
// not stand behind.
type errAhead struct{ last Record }

func (e errAhead) Error() string {
	return "epoch " + e.last.ID() + " is " + e.last.Holder + "'s, claimed by " + e.last.By
}

// append writes the next record, which next makes from the one before it, or
// says with errAhead what is in the way.
func (t *tail) append(ctx context.Context, next func(last Record) Record) (before, error) {
	if err := t.lock(ctx); err != nil {
		return before{}, err
	}
	defer t.unlock()

	for {
		if err := t.fresh(ctx); err != nil {
			return before{}, err
		}

		rec, was := next(t.last), before{t.last, t.seen}
		if !admits(t.last, rec) {
			return was, fail.New(fail.Conflict, "epoch: write", t.name, "", errAhead{t.last})
		}

		k := t.key(t.seq + 1)

		sealed, err := t.log.cfg.Codec.Seal(k, rec.encode())
		if err != nil {
			return before{}, err
		}
		began := t.log.cfg.Clock()
		err = t.store.Put(ctx, k, sealed)

		switch now := t.log.cfg.Clock(); {
		case err == nil && now-t.made > t.log.window.fresh && !t.log.omit.fresh:
			t.known = false // the number may have been free for the second time

			return before{}, fail.Newf(fail.Stalled, "epoch: write", t.store.URL()+"/"+k, "the answer came too late to count")
		case err == nil:
			t.seq, t.last, t.made, t.seen = t.seq+1, rec, began, now
			t.tidy(now)

			return was, nil
		case !fail.Is(err, fail.Conflict):
			return before{}, err
		case t.log.omit.conflict:
			return was, nil
		}

		if ours, err := t.step(ctx, rec.Nonce); ours || err != nil {
			return was, err
		}
	}
}

// step reads the record that was in the way. ours is true when it is the very
// one that was to be written: an answer was lost on the way.
func (t *tail) step(ctx context.Context, nonce string) (ours bool, err error) {
	rec, err := t.read(ctx, t.seq+1)
	if err != nil {
		t.known = t.known && !fail.Is(err, fail.NotFound)
		return false, err
	}

	if now := t.log.cfg.Clock(); rec.Nonce == nonce && now-t.made > t.log.window.fresh {
		t.known = false
		return false, fail.Newf(fail.Stalled, "epoch: write", t.store.URL(), "the answer came too late to count")
	}
	t.seq, t.last, t.seen = t.seq+1, rec, t.log.cfg.Clock()

	return rec.Nonce == nonce, nil
}

// tidy removes what has been old for long enough, beside everything else. Who may
// not remove anything is no worse off.
func (t *tail) tidy(now time.Duration) {
	if t.floorAt == 0 {
		t.floor, t.floorAt = t.seq, now
	}

	if t.keeps.Load() || now-t.floorAt < t.log.window.prune && !t.log.omit.prune {
		return
	}
	floor := t.floor
	t.floor, t.floorAt = t.seq, now

	t.log.beside.Go(func() {
		ctx, cancel := context.WithTimeout(t.log.ctx, t.log.window.prune)
		defer cancel()

		for i, err := range t.store.List(ctx, prefix(t.log.cfg.Group), t.key(floor)) {
			if err == nil {
				err = t.store.Delete(ctx, i.Key)
			}

			if err != nil {
				t.keeps.Store(fail.Is(err, fail.Denied))
				return
			}
		}
	})
}
