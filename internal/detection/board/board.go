package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"drctl/internal/detection"
	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

const (
	op     = "detection"
	root   = "detection/"
	suffix = ".age"
	// orders is the sequence of what people have ordered.
	orders = "orders"
	// votes is what the names of the sequences of places begin with.
	votes = "votes-"
	// begun is the folder of the failovers that began by themselves, by epoch.
	begun = "begun"

	maxRecord = 256 << 10
	// old is after how long the end of a sequence is looked for anew before something is
	// written behind it, and keep how many votes are kept of a place: a writer that was held
	// up must not find a free number among those that were removed.
	old  = time.Minute
	keep = 500
)

var errLate = errors.New("it has not answered by the time that a majority had, and half of the limit more")

// Store is what a voter keeps its records in; vault.Store is one.
type Store interface {
	Put(ctx context.Context, key string, body []byte) error
	Get(ctx context.Context, key string) (io.ReadCloser, error)
	List(ctx context.Context, prefix, after string) iter.Seq2[vault.Info, error]
	Delete(ctx context.Context, key string) error
	URL() string
}

// Voter is a store with the name that it votes under.
type Voter struct {
	Name  string
	Store Store
}

// Codec protects records; epoch.Seal is one.
type Codec interface {
	Seal(key string, content []byte) ([]byte, error)
	Open(key string, sealed []byte) ([]byte, error)
}

// Board is what a process knows of the records of one group. It is safe for concurrent use.
type Board struct {
	group string
	codec Codec
	// Limit is how long a voter may take.
	limit time.Duration
	clock func() time.Duration

	voters []Voter
	mu     sync.Mutex
	ends   map[string]*end // by voter and sequence
}

// Open asks nobody yet. The clock is monotonic; limit is how long a voter may take to answer.
func Open(group string, voters []Voter, codec Codec, clock func() time.Duration, limit time.Duration) (*Board, error) {
	if !targets.IsName(group) || len(voters) == 0 || codec == nil || clock == nil || limit <= 0 {
		return nil, fail.Newf(fail.Invalid, op, group, "name the group, its voters, their key, a clock and a limit")
	}

	return &Board{group: group, voters: voters, codec: codec, clock: clock, limit: limit, ends: map[string]*end{}}, nil
}

// end is the end of one sequence in one voter, as far as this process knows it.
type end struct {
	mu    sync.Mutex
	known bool
	seq   uint64
	last  []byte        // at seq; nil when the sequence is empty
	heard time.Duration // when it was read; foreign is of before
	first bool          // last was there when this process began to read
	made  time.Duration // nothing was behind seq at this time

	said map[string]detection.Heard // of a place, by process: what each has said last
}

// before is the instant of what was there before this process began to read.
const before = -100 * 365 * 24 * time.Hour

// forget is after how long it is forgotten what a process has said that says nothing more.
const forget = time.Hour

// note keeps what was read last. Processes of one place write into one sequence, and what one says
// must not hide what another sees. e.mu is held.
func (b *Board) note(name string, e *end) {
	place, ok := strings.CutPrefix(name, votes)
	if !ok || len(e.last) == 0 {
		return
	}

	h := detection.Heard{At: e.heard}
	if json.Unmarshal(e.last, &h.Vote) != nil || h.Place != place {
		return
	}

	if e.first {
		h.At = before
	}

	if e.said == nil {
		e.said = map[string]detection.Heard{}
	}
	e.said[h.Process] = h

	maps.DeleteFunc(e.said, func(p string, o detection.Heard) bool { return p != h.Process && b.clock()-o.At > forget })
}

func (b *Board) prefix(name string) string { return root + b.group + "/" + name + "/" }

// key counts down, so that the newest sorts first.
func (b *Board) key(name string, seq uint64) string {
	return fmt.Sprintf("%s%016X%s", b.prefix(name), ^seq, suffix)
}

func (b *Board) number(name, key string) (uint64, bool) {
	s, ok := strings.CutPrefix(key, b.prefix(name))
	if !ok || len(s) != 16+len(suffix) {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:16], 16, 64)

	return ^n, err == nil && b.key(name, ^n) == key
}

func (b *Board) end(voter, name string) *end {
	b.mu.Lock()
	defer b.mu.Unlock()

	k := voter + " " + name
	if b.ends[k] == nil {
		b.ends[k] = &end{}
	}

	return b.ends[k]
}

func (b *Board) get(ctx context.Context, s Store, key string) ([]byte, error) {
	r, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()

	body, err := io.ReadAll(io.LimitReader(r, maxRecord+1))
	if err != nil {
		return nil, fail.From(fail.Unavailable, op, s.URL()+"/"+key, err)
	}

	return b.codec.Open(key, body)
}

// locate finds the end of a sequence with one listing. e.mu is held.
func (b *Board) locate(ctx context.Context, s Store, name string, e *end) error {
	at, seq, found := b.clock(), uint64(0), false

	for i, err := range s.List(ctx, b.prefix(name), "") {
		if err != nil {
			return err
		}

		if seq, found = b.number(name, i.Key); found {
			break
		}
	}

	var last []byte
	if found {
		var err error
		if last, err = b.get(ctx, s, b.key(name, seq)); err != nil {
			return err
		}
	}

	if !e.known || seq != e.seq {
		e.heard, e.first = b.clock(), !e.known
	}
	e.known, e.seq, e.last, e.made = true, seq, last, at
	b.note(name, e)

	return nil
}

// walk reads what is new. e.mu is held.
func (b *Board) walk(ctx context.Context, s Store, name string, e *end) error {
	if !e.known || b.clock()-e.made > old {
		return b.locate(ctx, s, name, e)
	}

	for {
		at := b.clock()

		body, err := b.get(ctx, s, b.key(name, e.seq+1))
		if fail.Is(err, fail.NotFound) {
			e.made = at
			return nil
		}

		if err != nil {
			return err
		}
		e.seq, e.last, e.heard, e.first = e.seq+1, body, b.clock(), false
		b.note(name, e)
	}
}

// each asks voters at once, and returns how many did it, and why others did not.
func (b *Board) each(ctx context.Context, voters []Voter, f func(context.Context, Voter) error) (done int, why error) {
	return b.most(ctx, voters, b.limit, f)
}

// most is each that waits only so long for the others once a majority has answered. Of votes
// a majority is enough: two of them share a voter. Who waited for one that is gone would say and hear too
// seldom for what it heard to count still.
func (b *Board) most(ctx context.Context, voters []Voter, grace time.Duration, f func(context.Context, Voter) error) (done int, why error) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()

	got := make(chan error, len(voters))
	for _, v := range voters {
		go func() { got <- f(ctx, v) }()
	}

	var errs []error

	var late <-chan time.Time
	for range voters {
		select {
		case err := <-got:
			if err != nil {
				errs = append(errs, err)
				break
			}

			if done++; late == nil && b.Majority(done) {
				late = time.After(grace)
			}
		case <-late:
			return done, errors.Join(append(errs, errLate)...)
		case <-ctx.Done(): // one that hangs in its store keeps nobody waiting
			return done, errors.Join(append(errs, ctx.Err())...)
		}
	}

	return done, errors.Join(errs...)
}

// Majority reports whether so many voters are one.
func (b *Board) Majority(n int) bool { return 2*n > len(b.voters) }

// append writes a record behind all others of a sequence in each voter: what next makes of the
// one that is the last there, which is nil in an empty sequence.
func (b *Board) append(ctx context.Context, name string, next func(last []byte) (any, error)) (done int, err error) {
	grace := b.limit
	if strings.HasPrefix(name, votes) {
		grace /= 2
	}

	return b.most(ctx, b.voters, grace, func(ctx context.Context, v Voter) error {
		e := b.end(v.Name, name)
		e.mu.Lock()
		defer e.mu.Unlock()

		for range 20 { // others of the same place write too
			if err := b.walk(ctx, v.Store, name, e); err != nil {
				return err
			}
			k := b.key(name, e.seq+1)

			record, err := next(e.last)
			if err != nil {
				return err
			}

			body, err := json.Marshal(record)
			if err != nil {
				return fail.From(fail.Internal, op, name, err)
			}

			sealed, err := b.codec.Seal(k, body)
			if err != nil {
				return err
			}

			if err = v.Store.Put(ctx, k, sealed); err == nil {
				e.seq, e.last, e.heard, e.first = e.seq+1, body, b.clock(), false
				b.note(name, e)
				b.tidy(ctx, v.Store, name, e.seq)

				return nil
			}

			if !fail.Is(err, fail.Conflict) {
				return err
			}
		}

		return fail.Newf(fail.Conflict, op, name, "others write all the time")
	})
}

// tidy removes old votes of a place now and then.
func (b *Board) tidy(ctx context.Context, s Store, name string, seq uint64) {
	if seq%64 != 0 || seq <= keep || name == orders {
		return
	}

	for i, err := range s.List(ctx, b.prefix(name), b.key(name, seq-keep)) {
		if err != nil || s.Delete(ctx, i.Key) != nil { // who may not remove anything keeps it
			return
		}
	}
}

// Say keeps a vote of a place in every voter that answers. It is an error when none does.
func (b *Board) Say(ctx context.Context, v detection.Vote) error {
	if n, err := b.append(ctx, votes+v.Place, func([]byte) (any, error) { return v, nil }); n == 0 {
		return fail.New(fail.Unavailable, op, v.Place, "see that the vaults and the witness can be written from here", err)
	}

	return nil
}

// Hear returns the newest vote of each process of the places, or two where voters do not agree
// which that is, and how many voters answered.
// of says which of the voters are asked; none asks all. A vote that was there before this
// process began to read has an instant that counts for nothing.
func (b *Board) Hear(ctx context.Context, places []string, of ...int) (heard []detection.Heard, answered int, err error) {
	ask := b.voters
	if len(of) > 0 {
		ask = nil
		for _, i := range of {
			ask = append(ask, b.voters[i%len(b.voters)])
		}
	}

	answered, err = b.most(ctx, ask, b.limit/2, func(ctx context.Context, v Voter) error {
		for _, p := range places {
			e := b.end(v.Name, votes+p)
			e.mu.Lock()
			werr := b.walk(ctx, v.Store, votes+p, e)
			e.mu.Unlock()

			if werr != nil {
				return werr
			}
		}

		return nil
	})

	for _, p := range places {
		for _, v := range b.voters {
			for _, h := range b.known(b.end(v.Name, votes+p)) {
				heard = add(heard, h)
			}
		}
	}

	return heard, answered, err
}

// Voters is how many there are.
func (b *Board) Voters() int { return len(b.voters) }

// known is what each process of a place has said last, by one voter.
func (b *Board) known(e *end) []detection.Heard {
	if !e.mu.TryLock() { // a voter that hangs is asked about it again later
		return nil
	}
	defer e.mu.Unlock()

	return slices.Collect(maps.Values(e.said))
}

// add keeps of each process the newest by its own clock, heard at the earliest. One that is older
// by that clock and was heard later stays beside it: the clock was set back, and a voter that is
// away would hide what the process has said since, or a voter tells late. Whoever counts both
// takes life from either.
func add(all []detection.Heard, h detection.Heard) []detection.Heard {
	for i, o := range all {
		if o.Place != h.Place || o.Process != h.Process {
			continue
		}

		switch {
		case h.Wall.Equal(o.Wall):
			all[i].At = min(o.At, h.At)
			return all
		case h.Wall.After(o.Wall) && h.At >= o.At:
			all[i] = h
			return all
		case o.Wall.After(h.Wall) && o.At >= h.At:
			return all
		}
	}

	return append(all, h)
}
