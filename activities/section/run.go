package section

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/restore/machine"
	"drctl/restore/plan"
)

const op = "section"

// Hands do what steps say. Every call may be repeated, also by another process
// after one that died in the middle, and finds out what was done already.
type Hands interface {
	// Prepare does all that can be done before anything is touched: connections,
	// checkpoints, the state of routes. It is called once for a section; what it
	// returns is in the journal before the first step begins.
	Prepare(ctx context.Context) (json.RawMessage, error)
	// Do does a step within the context. What it returns is for later steps and for
	// the record.
	Do(ctx context.Context, n plan.Node, k Known) (json.RawMessage, error)
	// Undo takes back what a step did or may have done.
	Undo(ctx context.Context, n plan.Node, k Known) error
}

// Known is what the journal holds when a step begins.
type Known struct {
	Prepared json.RawMessage
	Outs     map[string]json.RawMessage // of steps that are done, by id
	// Past says that a step that nothing can undo has begun, now or before a death.
	Past bool
}

// Options say what is run.
type Options struct {
	Steps   plan.Outline // of the section alone: see plan.Outline.Within
	Hands   Hands
	Journal Journal
	By      string // who runs it, for the journal
	// Live is nil while this process may act; asked before each step. It may be nil.
	Live func() error
	Log  *slog.Logger
	// Shown is called after every event; it may be nil.
	Shown func(machine.State)
}

// Result is how a section ended.
type Result struct {
	Verdict machine.Verdict `json:"verdict"`
	Steps   []StepResult    `json:"steps"`
	// Asks are the steps that want people.
	Asks []string `json:"asks,omitempty"`
}

// StepResult is how one step ended.
type StepResult struct {
	ID     string          `json:"id"`
	Status machine.Status  `json:"status"`
	Error  string          `json:"error,omitempty"`
	Out    json.RawMessage `json:"out,omitempty"`
	// Took is how long the last attempt took; At when it ended, since the section began.
	Took time.Duration `json:"took_ns,omitempty"`
	At   time.Duration `json:"at_ns,omitempty"`
}

// Run runs a section to its end, or on from where its journal ends. A cancelled
// context takes it back before the point of no return and does not stop it behind.
// The error is of the journal, of Prepare, or fail.Unverified when the section
// ended in between and people have to look; else the verdict says how it ended.
func Run(ctx context.Context, o Options) (Result, error) {
	m, err := machine.New(o.Steps)
	if err != nil {
		return Result{}, err
	}

	r := &runner{Options: o, m: m, happened: make(chan Event), last: map[string]Event{}, why: map[string]string{}, stop: map[string]context.CancelFunc{}, began: time.Now()}
	r.known.Outs = map[string]json.RawMessage{}

	if err := r.resume(ctx); err != nil {
		return r.result(), err
	}

	return r.loop(ctx)
}

// Untouched is the error of a section that did not begin: this process has changed nothing. Another
// one may be about to: see NotBegun.
type Untouched struct{ error }

// Unwrap is the reason.
func (u Untouched) Unwrap() error { return u.error }

// runner runs one section. Its fields belong to the goroutine of loop.
type runner struct {
	Options
	m     *machine.Machine
	state machine.State
	known Known
	last  map[string]Event  // of each step
	why   map[string]string // it failed, by step; also of one that was undone then
	began time.Time
	since time.Duration // of the section when this run of it began

	entries int     // in the journal
	events  []Event // that are not in it
	todo    []machine.Command

	happened chan Event
	running  int // goroutines that will tell
	hands    sync.WaitGroup
	stop     map[string]context.CancelFunc
}

// resume takes the journal's word for what happened before.
func (r *runner) resume(ctx context.Context) error {
	es, err := r.Journal.Read(ctx)
	if err != nil {
		return err
	}

	for _, e := range es {
		r.entries++
		if e.Prepared != nil {
			r.known.Prepared = e.Prepared
		}

		for _, x := range e.Events {
			if err := r.take(x); err != nil {
				return fail.New(fail.Corrupt, op, "journal", "look at the run by hand", err)
			}
			r.since = max(r.since, x.At)
		}
	}

	if !HasBegun(es) {
		return r.prepare(ctx)
	}

	r.open(ctx)

	return nil
}

// prepare touches nothing. What it saw is durable before anything begins.
func (r *runner) prepare(ctx context.Context) error {
	out, err := r.Hands.Prepare(ctx)
	if err != nil {
		return Untouched{err}
	}

	if len(out) == 0 {
		out = json.RawMessage("null")
	}
	r.known.Prepared = out

	if err := r.take(Event{Kind: Began}); err != nil {
		return err
	}
	r.events = append(r.events, Event{Kind: Began})

	return r.flush(ctx, out)
}

// open is what a run that goes on has to do first: what was running when the one
// before ended begins again, with the same attempt, and what wanted people is tried
// once more.
func (r *runner) open(ctx context.Context) {
	r.todo = nil
	var again []string

	for i, s := range r.state.Steps {
		n := r.Steps.Steps[i]

		switch s.Status {
		case machine.Running:
			r.todo = append(r.todo, machine.Do{Step: n, Attempt: s.Attempt})
		case machine.Undoing:
			r.todo = append(r.todo, machine.Undo{Step: n, Attempt: s.Attempt})
		case machine.Pausing:
			r.todo = append(r.todo, machine.Wait{Step: n.ID, Timer: s.Timer})
		case machine.Asking:
			again = append(again, n.ID)
		}
	}

	for _, id := range again {
		r.note(ctx, Event{Kind: Again, Step: id})
	}
}

// take tells the machine what happened.
func (r *runner) take(e Event) error {
	x, err := e.machine()
	if err != nil {
		return err
	}

	var out []machine.Command
	r.state, out = r.m.Next(r.state, x)
	r.todo = append(r.todo, out...)

	if e.Step != "" {
		r.last[e.Step] = e
	}

	if e.Kind == Ended && e.Error != "" {
		r.why[e.Step] = e.Error
	}

	if e.Kind == Ended && e.Error == "" {
		delete(r.why, e.Step)
		r.known.Outs[e.Step] = e.Out
	}
	r.known.Past = r.known.Past || r.state.Past

	return nil
}

// flush makes what happened durable.
func (r *runner) flush(ctx context.Context, prepared json.RawMessage) error {
	if len(r.events) == 0 {
		return nil
	}

	e := Entry{At: time.Now().UTC(), By: r.By, Events: r.events, Prepared: prepared}
	if err := r.Journal.Write(ctx, r.entries+1, e); err != nil {
		return err
	}

	r.entries++
	r.events = nil

	return nil
}

// loop acts on commands and waits for what comes of them until all have ended.
func (r *runner) loop(ctx context.Context) (Result, error) {
	// What was begun is brought to an end or taken back, whoever stops waiting.
	work, give := context.WithCancel(context.WithoutCancel(ctx))
	// What still runs when this returns early is for whoever goes on to find; no hand
	// is left moving.
	defer r.hands.Wait()
	defer give()

	cancelled := ctx.Done()
	for {
		if err := r.act(work); err != nil {
			return r.result(), err
		}

		if r.state.Finished || r.running == 0 {
			break
		}

		var e Event

		select {
		case e = <-r.happened:
			r.running--
		case <-cancelled:
			cancelled, e = nil, Event{Kind: Cancelled}
		}

		r.note(ctx, e)

		for more := true; more && r.running > 0; { // one entry for all that is there
			select {
			case e := <-r.happened:
				r.running--
				r.note(ctx, e)
			default:
				more = false
			}
		}

		if r.Shown != nil {
			r.Shown(r.state)
		}
	}

	if err := r.flush(work, nil); err != nil {
		return r.result(), err
	}

	out := r.result()
	if out.Verdict == machine.Open || out.Verdict == machine.Parted {
		return out, fail.New(fail.Unverified, op, "", "see what the steps say, mend it, and run it again: it goes on from where it is", errors.New(r.words()))
	}

	return out, nil
}

// note takes what happened; what the machine does not know is a defect.
func (r *runner) note(ctx context.Context, e Event) {
	e.At = r.since + time.Since(r.began)
	r.events = append(r.events, e)

	if err := r.take(e); err != nil {
		r.Log.ErrorContext(ctx, "section: event", logs.Err, err)
	}

	if e.Error != "" {
		r.Log.WarnContext(ctx, "step failed", "step", e.Step, logs.Err, e.Error)
	}
}

// weighs reports whether whoever goes on after a death has to know that this began.
func weighs(c machine.Command) bool {
	switch c := c.(type) {
	case machine.Do:
		return c.Step.NoReturn || c.Step.Undo
	case machine.Undo:
		return true
	}

	return false
}

// act carries out what is to be done now. The journal knows of what weighs before it
// begins: else who goes on after a death would leave it as it is, or go on as if
// nothing had been taken back. The others are found out again.
func (r *runner) act(ctx context.Context) error {
	todo := r.todo
	r.todo = nil

	if slices.ContainsFunc(todo, weighs) {
		if err := r.flush(ctx, nil); err != nil {
			return err
		}
	}

	for _, c := range todo {
		switch c := c.(type) {
		case machine.Do:
			r.begin(ctx, c.Step, Ended, func(ctx context.Context, k Known) (json.RawMessage, error) { return r.Hands.Do(ctx, c.Step, k) })
		case machine.Undo:
			r.begin(ctx, c.Step, Undid, func(ctx context.Context, k Known) (json.RawMessage, error) {
				return nil, r.Hands.Undo(ctx, c.Step, k)
			})
		case machine.Halt:
			if stop := r.stop[c.Step]; stop != nil {
				stop()
			}
		case machine.Wait:
			r.tell(ctx, func() Event {
				sleep(ctx, c.For)
				return Event{Kind: Elapsed, Timer: c.Timer}
			})
		}
	}

	return nil
}

// undoLimit is how long one undoing may take at least.
const undoLimit = 5 * time.Minute

// begin starts an attempt in a goroutine of its own, within the step's limit.
func (r *runner) begin(ctx context.Context, n plan.Node, kind string, f func(context.Context, Known) (json.RawMessage, error)) {
	k := Known{Prepared: r.known.Prepared, Past: r.known.Past, Outs: make(map[string]json.RawMessage, len(r.known.Outs))}
	for id, out := range r.known.Outs {
		k.Outs[id] = out
	}

	limit := n.Limit
	if kind == Undid { // a server that starts again takes its time
		limit = max(limit, undoLimit)
	}

	stepCtx, stop := context.WithCancel(ctx)
	if n.Limit > 0 {
		stepCtx, stop = context.WithTimeout(ctx, limit)
	}
	r.stop[n.ID] = stop

	r.tell(ctx, func() Event {
		defer stop()

		start := time.Now()

		var out json.RawMessage

		err := r.live()
		if err == nil {
			out, err = f(stepCtx, k)
		}
		e := Event{Kind: kind, Step: n.ID, Out: out, Took: time.Since(start)}

		if err != nil {
			e.Error, e.Out = err.Error(), nil
		}

		return e
	})
}

func (r *runner) live() error {
	if r.Live == nil {
		return nil
	}

	return r.Live()
}

// tell sends what comes of f, unless the run is given up.
func (r *runner) tell(ctx context.Context, f func() Event) {
	r.running++

	r.hands.Go(func() {
		e := f()

		select {
		case r.happened <- e:
		case <-ctx.Done():
		}
	})
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()

	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (r *runner) result() Result {
	out := Result{Verdict: r.m.Verdict(r.state)}

	for i, s := range r.state.Steps {
		n := r.Steps.Steps[i]
		e := r.last[n.ID]

		if s.Status == machine.Asking {
			out.Asks = append(out.Asks, n.ID)
		}

		why := e.Error
		if why == "" {
			why = r.why[n.ID]
		}
		out.Steps = append(out.Steps, StepResult{ID: n.ID, Status: s.Status, Error: why, Out: r.known.Outs[n.ID], Took: e.Took, At: e.At})
	}

	return out
}

// words say which steps did not end well.
func (r *runner) words() string {
	text := "it ended in between"

	for i, s := range r.state.Steps {
		if e := r.last[r.Steps.Steps[i].ID]; e.Error != "" && s.Status != machine.Done && s.Status != machine.Undone {
			text += fmt.Sprintf("; %s: %s", r.Steps.Steps[i].ID, e.Error)
		}
	}

	return text
}
