package epoch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// Voter is a store that has a vote, by the name that records know it by. The
// name must never stand for another store.
type Voter struct {
	Name  string
	Store Store
}

// Config says whose sequence it is and who votes.
type Config struct {
	Group  string
	Voters []Voter
	Codec  Codec
	// By names this process in records, for people.
	By string
	// Patience is how long a voter may take to say what it has; 0 is two seconds.
	Patience time.Duration
	// Clock is Boot; another one is for tests.
	Clock Clock
}

// Log is the sequence of one group as this process knows it. It is safe for
// concurrent use. What it has read it does not read again.
type Log struct {
	cfg    Config
	names  []string
	tails  []*tail
	window struct{ fresh, prune time.Duration }
	omit   omit // for tests

	ctx    context.Context // ends what goes on beside a call
	cancel context.CancelFunc
	beside sync.WaitGroup
}

// omit leaves conditions out, so that a test can see what each of them is for.
type omit struct{ margin, majority, before, conflict, over, wait, fresh, prune bool }

// Open checks the configuration; it asks nobody. Close ends what is under way.
func Open(c Config) (*Log, error) {
	const op = "epoch: open"
	if !targets.IsName(c.Group) || len(c.Voters) == 0 || c.Codec == nil {
		return nil, fail.New(fail.Invalid, op, c.Group, "name the group, its voters and their key", nil)
	}

	if c.Clock == nil {
		c.Clock = Boot
	}

	if c.Patience == 0 {
		c.Patience = 2 * time.Second
	}

	l := &Log{cfg: c}
	l.window.fresh, l.window.prune = fresh, prune
	l.ctx, l.cancel = context.WithCancel(context.Background())

	for _, v := range c.Voters {
		if !targets.IsName(v.Name) || slices.Contains(l.names, v.Name) {
			return nil, fail.New(fail.Invalid, op, v.Name, "give every voter a name of its own", nil)
		}
		l.names = append(l.names, v.Name)
		l.tails = append(l.tails, &tail{name: v.Name, store: v.Store, log: l, busy: make(chan struct{}, 1)})
	}

	slices.Sort(l.names)

	return l, nil
}

// Close ends what is under way and waits for it.
func (l *Log) Close() {
	l.cancel()
	l.beside.Wait()
}

// answer is what one voter said.
type answer struct {
	tail   *tail
	before before
	err    error
}

// ask asks all voters at once, and returns when all have answered, or enough
// says that their answers suffice, or patience or the context has ended. Who has
// not answered by then has an error, and goes on until patience has ended.
func (l *Log) ask(ctx context.Context, patience time.Duration, f func(context.Context, *tail) (before, error), enough func([]answer) bool) []answer {
	got := make(chan answer, len(l.tails))

	for _, t := range l.tails {
		l.beside.Go(func() {
			ctx, cancel := context.WithTimeout(l.ctx, patience)
			defer cancel()

			b, err := f(ctx, t)
			got <- answer{t, b, err}
		})
	}

	limit := time.NewTimer(patience)
	defer limit.Stop()

	var out []answer
	for len(out) < len(l.tails) && !enough(out) {
		select {
		case a := <-got:
			out = append(out, a)
		case <-limit.C:
			return l.missing(out)
		case <-ctx.Done():
			return l.missing(out)
		}
	}

	return l.missing(out)
}

// missing adds an error for each voter that has not answered.
func (l *Log) missing(got []answer) []answer {
	for _, t := range l.tails {
		if !slices.ContainsFunc(got, func(a answer) bool { return a.tail == t }) {
			got = append(got, answer{tail: t, err: fail.New(fail.Unavailable, "epoch: ask", t.name+" ("+t.store.URL()+")", "", errors.New("no answer yet"))})
		}
	}

	return got
}

// quorum reports whether the voters of these answers are a majority of every set
// of voters: of those of the present epoch and, while they change, of those before.
func (l *Log) quorum(sets [][]string, ok func(answer) bool, answers []answer) bool {
	for _, set := range sets {
		n := 0
		for _, a := range answers {
			if slices.Contains(set, a.tail.name) && ok(a) {
				n++
			}
		}

		if n*2 <= len(set) && !(l.omit.majority && n > 0) {
			return false
		}
	}

	return true
}

func won(a answer) bool { return a.err == nil }

// in tells whose sequence ends in this epoch.
func in(id string) func(answer) bool {
	return func(a answer) bool { return a.err == nil && a.before.last.ID() == id }
}

// VoterState is what one voter has.
type VoterState struct {
	Name string
	Last Record // zero when it has none
	Err  error  // it could not be asked; the rest is as it was known
}

// State is the present epoch as a majority of the voters knows it.
type State struct {
	// Present is the newest record of the highest epoch that a majority holds;
	// zero before the first.
	Present Record
	// Ahead is a record of a higher epoch that no majority is known to hold: a
	// claim that is being made, or was left. Zero when there is none.
	Ahead  Record
	Voters []VoterState
	// Guards are all guards that were heard of.
	Guards []Guard
	// Held are the highest epochs of each region that were heard of, won or not.
	Held map[string]uint64
}

// Newest is the ID and the number of the highest epoch that was heard of; None and 0 when
// there is none.
func (s State) Newest() (id string, number uint64) {
	var r Record
	for _, v := range s.Voters {
		if v.Last.Epoch > r.Epoch {
			r = v.Last
		}
	}

	return r.ID(), r.Epoch
}

// Read asks the voters for what is new. fail.Unavailable when no majority
// answers, or when they do not agree on any epoch.
func (l *Log) Read(ctx context.Context) (State, error) {
	own := [][]string{l.names}
	answers := l.ask(ctx, l.cfg.Patience, func(ctx context.Context, t *tail) (before, error) { return t.end(ctx) }, func(got []answer) bool {
		return slices.ContainsFunc(got, func(a answer) bool { return a.before.last.Epoch > 0 && l.quorum(own, in(a.before.last.ID()), got) })
	})

	if !l.quorum(own, won, answers) {
		return State{}, l.short("epoch: read", answers)
	}

	st := State{Held: map[string]uint64{}}
	for _, a := range answers {
		st.Voters = append(st.Voters, VoterState{Name: a.tail.name, Last: a.before.last, Err: a.err})

		if a.err != nil {
			continue
		}
		st.Guards = mergeGuards(st.Guards, a.before.last.Guards)
		mergeHeld(st.Held, a.before.last)

		switch r := a.before.last; {
		case !l.quorum(own, in(r.ID()), answers):
			if r.Epoch > st.Ahead.Epoch {
				st.Ahead = r
			}
		case r.Epoch > 0:
			st.Present = newer(st.Present, r)
		}
	}

	if st.Ahead.Epoch <= st.Present.Epoch && st.Present.Epoch > 0 {
		st.Ahead = Record{}
	}

	return st, nil
}

// newer is what two records of one epoch say together: a lease that one of them
// knows to be over is over, and where none does, all that are in any may run.
func newer(a, b Record) Record {
	switch {
	case a.Epoch == 0 || b.Settled():
		return b
	case a.Settled():
		return a
	}
	over := map[string]Millis{}
	mergeOver(over, a.Over)
	mergeOver(over, b.Over)
	b.Over = over

	return b
}

// short is the error of a question that too few voters answered.
func (l *Log) short(op string, answers []answer) error {
	var said []string
	for _, a := range answers {
		if a.err != nil {
			said = append(said, a.tail.name+": "+fail.Cause(a.err))
		}
	}

	return fail.New(fail.Unavailable, op, l.cfg.Group, "see that a majority of vaults and witness can be reached and written from here",
		fmt.Errorf("no majority of %s: %s", strings.Join(l.names, ", "), strings.Join(said, "; ")))
}
