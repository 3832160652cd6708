package gameday

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"drctl/activities/gamedays"
	"drctl/drills"
	"drctl/drills/gameday"
	"drctl/internal/engine"
	"drctl/workflows/recovery"
)

// In names a game day.
type In struct {
	Name    string `json:"name"`
	By      string `json:"by"`
	Trigger string `json:"trigger"` // manual, schedule, change or incident
	// Queue is where the drill is led from, and Recover the id of recoveries of its group.
	Queue   string `json:"queue"`
	Recover string `json:"recover"`
	// Hash is of the drill that a person was shown; "" when nobody was.
	Hash string `json:"hash,omitempty"`
}

// patience is how long a recovery that was cancelled is waited for.
const patience = 2 * time.Minute

// spare is how long after the drill's limit a fault is taken away by its host alone.
const spare = 5 * time.Minute

// day is one game day.
type day struct {
	in     In
	begun  gamedays.Begun
	seen   gameday.Seen
	queues []string // of the hosts where faults were planted, by their place in seen.Planted
	// runID names the recovery.
	runID string
}

// Run runs a game day to its end. The error is of its record; what went wrong with the drill is in the
// record.
func Run(ctx workflow.Context, in In) (drills.Outcome, error) {
	d := &day{in: in,
		seen: gameday.Seen{Run: workflow.GetInfo(ctx).WorkflowExecution.RunID, By: in.By, Trigger: in.Trigger, Started: workflow.Now(ctx).UTC()}}

	err := workflow.ExecuteActivity(quick(ctx, in.Queue), gamedays.BeginName, gamedays.BeginIn{Name: in.Name, Recover: in.Recover, Hash: in.Hash}).Get(ctx, &d.begun)
	if err != nil {
		return drills.Outcome{}, err // there is no such drill, or no vault answers: nothing was planted
	}
	d.seen.Drill, d.seen.Gates, d.seen.Plan, d.seen.Approved = d.begun.Drill, d.begun.Gates, d.begun.Plan.SHA256, d.begun.Approved

	if len(gameday.Shut(d.seen.Gates)) == 0 {
		d.tell(ctx, "begins", d.seen.Drill.Scenario)
		d.hold(ctx)
	}

	return d.finish(ctx)
}

// hold holds the drill until it is over, is stopped, or takes too long; then takes away what was planted.
func (d *day) hold(ctx workflow.Context) {
	work, stop := workflow.WithCancel(ctx)
	over := workflow.NewBufferedChannel(ctx, 1)

	workflow.Go(work, func(ctx workflow.Context) {
		d.play(ctx)
		over.SendAsync(true)
	})

	played := false
	ended := workflow.NewSelector(ctx).AddReceive(over, func(c workflow.ReceiveChannel, _ bool) {
		c.Receive(ctx, nil)

		played = true
	})

	guard := workflow.ExecuteActivity(d.long(work, d.in.Queue, 5), gamedays.GuardName, gamedays.GuardIn{Name: d.in.Name, Hash: d.hash(), Recover: d.in.Recover})
	guarded := false
	ended.AddFuture(guard, func(workflow.Future) { guarded = true })

	timer := workflow.NewTimer(work, d.seen.Drill.Limit)
	ended.AddFuture(timer, func(f workflow.Future) {
		if f.Get(ctx, nil) == nil {
			d.fail(fmt.Sprintf("it took longer than its limit of %s", d.seen.Drill.Limit))
		}
	})
	ended.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) { d.seen.Cancelled = true })

	ended.Select(ctx)

	if guarded || guard.IsReady() && ctx.Err() == nil { // also when it came with the end
		d.guarded(ctx, guard)
	}

	stop()

	// What is planted may be what the recovery waits for: first it is taken away.
	d.remove(ctx)

	rest, release := workflow.NewDisconnectedContext(ctx)
	defer release()

	if !played && !d.await(rest, over) {
		d.fail("the recovery goes on, and may ask people: see drctl recovery show --group " + d.seen.Drill.Group)
	}

	d.remove(ctx) // what was planted meanwhile
	d.seen.Ended = workflow.Now(ctx).UTC()

	if !d.seen.Cancelled {
		d.late(ctx)
	}
}

// guarded notes why the drill has to end.
func (d *day) guarded(ctx workflow.Context, guard workflow.Future) {
	var out gamedays.Guarded

	switch err := guard.Get(ctx, &out); {
	case err != nil && ctx.Err() == nil:
		d.fail("its stop conditions cannot be looked at: " + text(err))
	case err != nil: // it was cancelled with the drill
	case out.Yield != "":
		d.fail(out.Yield)
	default:
		out.Heard = workflow.Now(ctx).UTC()
		d.seen.Answers = append(d.seen.Answers, out.Answered)
	}
}

// await waits for the end of what was cancelled, for a while: a recovery that is past its point of no return may wait
// for people.
func (d *day) await(ctx workflow.Context, over workflow.ReceiveChannel) (ended bool) {
	workflow.NewSelector(ctx).AddReceive(over, func(c workflow.ReceiveChannel, _ bool) {
		c.Receive(ctx, nil)

		ended = true
	}).AddFuture(workflow.NewTimer(ctx, patience), func(workflow.Future) {}).Select(ctx)

	return ended
}

// play is the drill itself. It appends to what was seen.
func (d *day) play(ctx workflow.Context) {
	def := d.seen.Drill

	if !d.safe(ctx, true) {
		return // with a reason to stop, or one that nobody can ask for, nothing is begun
	}

	if def.Red != nil && !d.ask(ctx, gameday.RedQuiet, 0, *def.Red) {
		return // what is on already cannot go off
	}

	d.runID = strings.ReplaceAll(workflow.Now(ctx).UTC().Format("20060102T150405.000"), ".", "-") + "-" + d.seen.Run[:min(6, len(d.seen.Run))]

	if !d.plant(ctx, gameday.Before) || ctx.Err() != nil {
		return
	}

	asked := workflow.NewWaitGroup(ctx)
	defer func() {
		asked.Wait(ctx)

		if ctx.Err() == nil {
			d.safe(ctx, false) // the guard may not have looked since; what is planted may keep it from being asked
		}
	}()

	if def.Red != nil {
		d.spawn(ctx, asked, func(ctx workflow.Context) { d.ask(ctx, gameday.RedWentOff, 0, *def.Red) })
	}

	for i, k := range def.Expect {
		if !k.Late() {
			d.spawn(ctx, asked, func(ctx workflow.Context) { d.ask(ctx, gameday.Expected, i, k) })
		}
	}

	if def.Runs() {
		d.spawn(ctx, asked, func(ctx workflow.Context) { d.plant(ctx, gameday.AtStep) })
		d.recover(ctx)
	}

	if ctx.Err() == nil {
		d.plant(ctx, gameday.After)
	}
}

// safe asks all stop conditions once, and reports whether none is so. Unless all have to be asked, one that could not
// be is not noted.
func (d *day) safe(ctx workflow.Context, all bool) bool {
	w := workflow.NewWaitGroup(ctx)
	ok := true

	for i, k := range d.seen.Drill.Stop {
		d.spawn(ctx, w, func(ctx workflow.Context) {
			if a := d.question(ctx, gameday.Stopped, i, k); all || a.Error == "" {
				ok = d.note(a) && ok
			}
		})
	}

	w.Wait(ctx)

	return ok
}

func (d *day) spawn(ctx workflow.Context, w workflow.WaitGroup, f func(workflow.Context)) {
	w.Add(1)
	workflow.Go(ctx, func(ctx workflow.Context) {
		defer w.Done()

		f(ctx)
	})
}

// recover runs the recovery as a command does, and waits for its end. Cancelled, it is taken back or
// comes to its end.
func (d *day) recover(ctx workflow.Context) {
	child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: d.in.Recover, TaskQueue: d.begun.Queues[d.begun.To], WaitForCancellation: true,
		WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, ParentClosePolicy: enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL, Priority: temporal.Priority{PriorityKey: 1}})

	var out gameday.Recovered

	err := workflow.ExecuteChildWorkflow(child, recovery.Name, recovery.In{Run: d.runID, By: d.in.By, Group: d.seen.Drill.Group, Plan: d.begun.Plan, Mode: d.begun.Mode,
		From: d.begun.From, To: d.begun.To, Order: d.begun.Order, Queues: d.begun.Queues}).Get(ctx, &out)
	if err != nil {
		d.fail("the recovery: " + text(err))
		return
	}
	d.seen.Recovered = &out
}

// plant plants the faults of a moment, all at once, and reports whether all were.
func (d *day) plant(ctx workflow.Context, at string) bool {
	w := workflow.NewWaitGroup(ctx)
	all := true

	for i, f := range d.seen.Drill.Faults {
		if f.At != at {
			continue
		}

		d.spawn(ctx, w, func(ctx workflow.Context) {
			if !d.plantOne(ctx, i, f) {
				all = false
			}
		})
	}

	w.Wait(ctx)

	return all
}

// id names a fault among all that were ever planted.
func (d *day) id(i int) string {
	return fmt.Sprintf("%s-%d", d.seen.Run, i)
}

// plantOne plants a fault, and takes it away when its time is up.
func (d *day) plantOne(ctx workflow.Context, i int, f gameday.Fault) bool {
	place := len(d.seen.Planted)
	d.seen.Planted = append(d.seen.Planted, gameday.Planted{Fault: f, Intended: workflow.Now(ctx).UTC()})
	d.queues = append(d.queues, f.Queue)

	limit := d.seen.Started.Add(d.seen.Drill.Limit + spare)

	var out gamedays.PlantOut

	err := workflow.ExecuteActivity(d.long(ctx, f.Queue, 3), gamedays.PlantName, gamedays.PlantIn{Name: d.in.Name, Hash: d.hash(), Fault: f.ID, ID: d.id(i), Until: limit, Lab: d.begun.Lab,
		Recover: d.in.Recover, Run: d.runID, Plan: d.begun.Plan}).Get(ctx, &out)
	p := &d.seen.Planted[place]

	if err != nil {
		p.Error = text(err)
		return false
	}
	p.Planted, p.Heard, p.Words, d.queues[place] = out.Planted.Planted, workflow.Now(ctx).UTC(), out.Words, out.Queue

	if f.For > 0 {
		workflow.Go(ctx, func(ctx workflow.Context) {
			if workflow.Sleep(ctx, f.For) == nil {
				d.removeOne(ctx, place, i, gameday.TimeUp)
			}
		})
	}

	return true
}

// remove takes everything away that was planted, or may have been.
func (d *day) remove(ctx workflow.Context) {
	ctx, release := workflow.NewDisconnectedContext(ctx)
	defer release()

	w := workflow.NewWaitGroup(ctx)

	for place := range d.seen.Planted {
		if p := d.seen.Planted[place]; p.Removed.IsZero() {
			d.spawn(ctx, w, func(ctx workflow.Context) { d.removeOne(ctx, place, d.index(p.Fault.ID), gameday.DrillOver) })
		}
	}

	w.Wait(ctx)
}

func (d *day) index(id string) int {
	for i, f := range d.seen.Drill.Faults {
		if f.ID == id {
			return i
		}
	}

	return -1
}

// removeOne takes a fault away, and notes what is left of it.
func (d *day) removeOne(ctx workflow.Context, place, i int, why string) {
	ctx, release := workflow.NewDisconnectedContext(ctx)
	defer release()

	var out gameday.Planted

	opt := workflow.GetActivityOptions(quick(ctx, d.queues[place]))
	opt.StartToCloseTimeout, opt.HeartbeatTimeout = 3*time.Minute, 20*time.Second

	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, opt), gamedays.RemoveName, gamedays.RemoveIn{ID: d.id(i), Why: why, Group: d.seen.Drill.Group}).Get(ctx, &out)
	p := &d.seen.Planted[place]

	switch {
	case err != nil:
		p.Left = text(err)
	case out.Intended.IsZero() && !p.Planted.IsZero():
		p.Left = "its host has no record of it any more"
	case out.Intended.IsZero(): // nothing was touched
		p.Intended, p.Left = time.Time{}, ""
	default:
		p.Intended, p.Planted, p.Removed, p.Why, p.Over, p.Stays, p.Left = out.Intended, out.Planted, out.Removed, out.Why, out.Over, out.Stays, ""
	}
}

// ask asks a check, notes the answer, and reports whether it is as it is wanted.
func (d *day) ask(ctx workflow.Context, kind string, i int, k gameday.Check) bool {
	return d.note(d.question(ctx, kind, i, k))
}

func (d *day) note(a gameday.Answered) bool {
	d.seen.Answers = append(d.seen.Answers, a)
	return a.Met()
}

func (d *day) question(ctx workflow.Context, kind string, i int, k gameday.Check) gameday.Answered {
	a := gameday.Answered{Kind: kind, Check: k}

	if k.OfRun() {
		a.Answer = d.seen.Ask(k)
	} else if err := workflow.ExecuteActivity(d.long(ctx, d.in.Queue, 3), gamedays.AskName, gamedays.AskIn{Name: d.in.Name, Hash: d.hash(), Kind: kind, Index: i}).Get(ctx, &a.Answer); err != nil {
		a.Answer = gameday.Answer{Error: text(err)}
	}

	if a.Heard = workflow.Now(ctx).UTC(); a.At.IsZero() {
		a.At = a.Heard
	}

	if kind == gameday.Stopped && a.Error == "" {
		a.So = a.So != k.Not // it says that there is a reason to stop
	}

	return a
}

// late asks what is asked when everything planted was taken away.
func (d *day) late(ctx workflow.Context) {
	for i, k := range d.seen.Drill.Expect {
		if k.Late() {
			d.ask(ctx, gameday.Expected, i, k)
		}
	}
}

// finish writes the record and tells how it ended.
func (d *day) finish(ctx workflow.Context) (out drills.Outcome, err error) {
	dctx, release := workflow.NewDisconnectedContext(ctx)
	defer release()

	if ctx.Err() != nil {
		d.seen.Cancelled = true
	}

	d.seen.Finished = workflow.Now(ctx).UTC()
	if d.seen.Ended.IsZero() {
		d.seen.Ended = d.seen.Finished
	}

	opt := workflow.GetActivityOptions(quick(dctx, d.in.Queue))
	opt.StartToCloseTimeout = 10 * time.Minute

	if err := workflow.ExecuteActivity(workflow.WithActivityOptions(dctx, opt), gamedays.FinishName, d.seen).Get(dctx, &out); err != nil {
		return out, err
	}

	if len(gameday.Shut(d.seen.Gates)) == 0 {
		state := "failed"
		if out.Passed {
			state = "passed"
		}

		d.tell(dctx, state, "report "+out.ID)
	}

	return out, ctx.Err()
}

// tell runs the program that tells people; that it fails stands in the record when it is not written yet.
func (d *day) tell(ctx workflow.Context, state, words string) {
	if len(d.seen.Drill.Tell) == 0 {
		return
	}

	if err := workflow.ExecuteActivity(quick(ctx, d.in.Queue), gamedays.TellName, gamedays.TellIn{Name: d.in.Name, Hash: d.hash(), State: state, Words: words}).Get(ctx, nil); err != nil {
		d.seen.Untold = append(d.seen.Untold, state+": "+text(err))
	}
}

func (d *day) fail(why string) { d.seen.Errors = append(d.seen.Errors, why) }

func (d *day) hash() string { return d.begun.Hash }

// text is an error without the engine's words around it.
func text(err error) string {
	return strings.TrimSpace(engine.DecodeError(err).Error())
}

// quick is for a call of some seconds.
func quick(ctx workflow.Context, queue string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{TaskQueue: queue, StartToCloseTimeout: time.Minute, ScheduleToStartTimeout: 2 * time.Minute, WaitForCancellation: true,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 10 * time.Second, MaximumAttempts: 5}})
}

// long is for a call that waits, and beats meanwhile.
func (d *day) long(ctx workflow.Context, queue string, attempts int32) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{TaskQueue: queue, StartToCloseTimeout: d.seen.Drill.Limit + spare, ScheduleToStartTimeout: 2 * time.Minute, HeartbeatTimeout: 20 * time.Second, WaitForCancellation: true,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 10 * time.Second, MaximumAttempts: attempts}})
}
