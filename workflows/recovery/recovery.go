package recovery

import (
	"encoding/json"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"drctl/activities/actions"
	"drctl/activities/atmoment"
	"drctl/internal/approval"
	"drctl/internal/engine"
	"drctl/internal/platform"
	"drctl/restore/choices"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/workflows/unserved"
)

// spare is what a section gets beyond the limits of its steps: to be taken back, and
// for pauses between attempts.
const spare = 10 * time.Minute

// Run runs a plan to its end. An error means that it did not begin; else the verdict
// says how it ended.
func Run(ctx workflow.Context, in In) (Out, error) {
	m, err := machine.New(in.Order)
	if err != nil {
		return Out{}, engine.EncodeError(err)
	}

	r := &run{in: in, m: m, ended: workflow.NewBufferedChannel(ctx, 2*len(in.Order.Steps)+1), outs: map[string]json.RawMessage{}, approvals: map[string][]approval.Approval{}, halts: map[string]workflow.CancelFunc{},
		out: Out{Run: in.Run, Group: in.Group, Mode: in.Mode, From: in.From, To: in.To, By: in.By, Plan: in.Plan.SHA256, Take: in.Take, Cause: in.Cause, Choices: in.Choices, Started: workflow.Now(ctx).UTC(), Verdict: machine.Open}}
	for _, n := range in.Order.Steps {
		r.out.Steps = append(r.out.Steps, Step{ID: n.ID, Op: n.Op})
	}

	if err := workflow.SetQueryHandler(ctx, State, func() (Out, error) { return r.shown(), nil }); err != nil {
		return Out{}, err
	}

	var begun actions.Begun
	if err := workflow.ExecuteActivity(quick(ctx, in.Queues[in.To]), actions.BeginName, actions.BeginIn{Run: in.Run, By: in.By, Plan: in.Plan, Take: in.Take, Token: workflow.GetInfo(ctx).WorkflowExecution.RunID}).Get(ctx, &begun); err != nil {
		return Out{}, err
	}
	r.out.Epoch, r.behind = begun.Epoch, begun.Behind

	r.loop(ctx)
	out := r.shown()
	out.Finished = workflow.Now(ctx).UTC()
	out.Unkept = r.end(ctx, out)

	return out, nil
}

// end has the vaults keep how the run ended, so that nobody takes it up again. It returns
// why they do not.
func (r *run) end(ctx workflow.Context, out Out) string {
	if workflow.GetVersion(ctx, "end", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return ""
	}

	work, release := workflow.NewDisconnectedContext(ctx)
	defer release()

	if err := workflow.ExecuteActivity(quick(work, r.in.Queues[r.in.To]), actions.EndName, end{Run: r.in.Run, Plan: r.in.Plan, Out: out}).Get(work, nil); err != nil {
		return engine.DecodeError(err).Error()
	}

	return ""
}

// quick is for a call of some seconds.
func quick(ctx workflow.Context, queue string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{TaskQueue: queue, StartToCloseTimeout: time.Minute, ScheduleToStartTimeout: 2 * time.Minute,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, MaximumAttempts: 5}})
}

// run is one run. Everything that it decides the machine decides.
type run struct {
	in    In
	m     *machine.Machine
	state machine.State
	out   Out
	ended workflow.Channel // of ended
	// behind is the newest epoch when the run began.
	behind string
	// cancelled says that the run was.
	cancelled bool
	outs      map[string]json.RawMessage
	approvals map[string][]approval.Approval // valid ones, by step
	halts     map[string]workflow.CancelFunc // of what runs, by step
}

// loop feeds the machine until it is finished.
func (r *run) loop(ctx workflow.Context) {
	// What was begun comes to its end, whoever cancels.
	work, release := workflow.NewDisconnectedContext(ctx)
	defer release()

	answers, foreseen := workflow.GetSignalChannel(ctx, Answer), workflow.GetSignalChannel(ctx, Foreseen)
	r.cancelled = ctx.Err() != nil

	var first machine.Event = machine.Begin{}
	if r.cancelled {
		first = machine.Cancelled{}
	}

	r.tell(work, first)

	for !r.state.Finished {
		pick := workflow.NewSelector(work)
		pick.AddReceive(r.ended, func(c workflow.ReceiveChannel, _ bool) {
			var e ended

			c.Receive(work, &e)
			r.tell(work, r.note(work, e))
		})
		pick.AddReceive(answers, func(c workflow.ReceiveChannel, _ bool) {
			var a Reply

			c.Receive(work, &a)

			if !r.approve(work, a) {
				r.answer(work, a, false)
			}
		})

		pick.AddReceive(foreseen, func(c workflow.ReceiveChannel, _ bool) {
			var t choices.Table

			c.Receive(work, &t)

			if r.out.Choices == nil {
				r.out.Choices = &t
			}
		})

		if !r.cancelled {
			pick.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) {
				r.cancelled = true

				r.haltSections()
				r.tell(work, machine.Cancelled{})
			})
		}

		pick.Select(work)
	}
}

// tell tells the machine what happened, and does what it says.
func (r *run) tell(ctx workflow.Context, e machine.Event) {
	var commands []machine.Command

	r.state, commands = r.m.Next(r.state, e)
	for _, c := range commands {
		r.obey(ctx, c)
	}
}

// of is how far a step has come; the zero value of one that there is not.
func (r *run) of(id string) machine.StepState {
	for i, s := range r.state.Steps {
		if r.m.ID(i) == id {
			return s
		}
	}

	return machine.StepState{}
}

// changed reports whether an answer was one: whatever it says changes its step.
func changed(a, b machine.StepState) bool {
	return a.Status != b.Status || a.Question != b.Question || a.Waived != b.Waived || len(a.Agreed) != len(b.Agreed)
}

// haltSections cancels sections that run: each knows itself whether it can still be
// taken back.
func (r *run) haltSections() {
	for _, n := range r.in.Order.Steps {
		if halt := r.halts[n.ID]; halt != nil && n.Op == plan.OpSection {
			halt()
		}
	}
}

func (r *run) step(id string) *Step {
	for i := range r.out.Steps {
		if r.out.Steps[i].ID == id {
			return &r.out.Steps[i]
		}
	}

	return &Step{}
}

// obey carries out one command.
func (r *run) obey(ctx workflow.Context, c machine.Command) {
	switch c := c.(type) {
	case machine.Do:
		if s := r.step(c.Step.ID); s.Started.IsZero() {
			s.Started = workflow.Now(ctx).UTC()
		}

		r.begin(ctx, c.Step, false)
	case machine.Undo:
		r.begin(ctx, c.Step, true)
	case machine.Halt:
		if halt := r.halts[c.Step]; halt != nil {
			halt()
		}
	case machine.Wait:
		workflow.Go(ctx, func(ctx workflow.Context) {
			_ = workflow.Sleep(ctx, c.For) // ctx never ends
			r.ended.Send(ctx, ended{Timer: c.Timer})
		})
	case machine.Ask:
		r.step(c.Step).People = c.People
	case machine.Skip:
		r.step(c.Step).Why = c.Why
	}
}

// begin starts an attempt in a goroutine of its own.
func (r *run) begin(ctx workflow.Context, n plan.Node, undo bool) {
	own, halt := workflow.WithCancel(ctx)
	r.halts[n.ID] = halt

	if r.cancelled && n.Op == plan.OpSection { // it can only be taken back now, or come to its end
		halt()
	}
	call := r.call(n)

	workflow.Go(ctx, func(ctx workflow.Context) {
		e := ended{Step: n.ID, Undo: undo}

		switch {
		case n.Op == plan.OpSection:
			r.section(ctx, own, n, call, &e)
		case undo:
			e.note(workflow.ExecuteActivity(r.options(own, n, 5), actions.UndoName, call).Get(ctx, nil))
		default:
			var d actions.Done

			opt := r.options(own, n, 3)
			err := workflow.ExecuteActivity(opt, actions.DoName, call).Get(ctx, &d)
			e.Out, e.Said = d.Out, d.Said
			e.note(unserved.Said(err, n.Region, workflow.GetActivityOptions(opt).TaskQueue))
		}

		r.ended.Send(ctx, e)
	})
}

// section runs a section, or takes it back: its journal says how far it is. ctx is the
// goroutine's, own the one that is cancelled.
func (r *run) section(ctx, own workflow.Context, n plan.Node, call actions.Call, e *ended) {
	var res actions.Ended

	opt := workflow.GetActivityOptions(r.options(own, n, 10))
	opt.StartToCloseTimeout += spare

	err := workflow.ExecuteActivity(workflow.WithActivityOptions(own, opt), actions.SectionName, call).Get(ctx, &res)
	e.Inside, e.InDoubt, e.Resolved, e.Halves, e.Loss = res.Steps, res.InDoubt, res.Resolved, res.Halves, res.Loss
	e.note(err)

	if err != nil {
		return
	}

	e.Untouched = res.Verdict == machine.TakenBack
	e.Failed = res.Verdict != machine.Reached

	if e.Undo {
		e.Failed = res.Verdict != machine.TakenBack
	}

	for _, s := range res.Steps {
		if e.Failed && s.Error != "" && e.Error == "" {
			e.Error = s.ID + ": " + s.Error
		}
	}
}

func (e *ended) note(err error) {
	if err != nil {
		e.Failed, e.Error = true, engine.DecodeError(err).Error()
	}
}

// options are those of a step's activity: in the region where it works.
func (r *run) options(ctx workflow.Context, n plan.Node, attempts int32) workflow.Context {
	region := n.Region
	if region == "" {
		region = r.in.To
	}

	limit := n.Limit
	if limit <= 0 {
		limit = time.Hour
	}

	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{TaskQueue: platform.Queue(r.in.Queues[region], n.Host, platform.Base), StartToCloseTimeout: limit, ScheduleToStartTimeout: 5 * time.Minute,
		HeartbeatTimeout: 20 * time.Second, WaitForCancellation: true,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 10 * time.Second, MaximumAttempts: attempts}})
}

// call is what an activity is told: of earlier steps only what it may rest on.
func (r *run) call(n plan.Node) actions.Call {
	c := actions.Call{Run: r.in.Run, By: r.in.By, Plan: r.in.Plan, Mode: r.in.Mode, Epoch: r.out.Epoch, Behind: r.behind, Take: r.in.Take, Step: n.ID}

	for i, o := range r.in.Order.Steps {
		if !rests(n.Op, o.Op) {
			continue
		}

		if out := r.outs[o.ID]; len(out) > 0 {
			if c.Outs == nil {
				c.Outs = map[string]json.RawMessage{}
			}
			c.Outs[o.ID] = out
		}

		if len(r.state.Steps) > i && r.state.Steps[i].Waived != "" && (o.Op == plan.OpClaim || o.Op == plan.OpFence || o.Op == plan.OpFeed) {
			if c.Waived == nil {
				c.Waived = map[string]string{}
			}
			c.Waived[o.ID] = r.state.Steps[i].Waived
		}
	}

	return c
}

// rests reports whether a step of one action is told what came of one of another.
func rests(step, on plan.Op) bool {
	switch step {
	case plan.OpSection:
		return on == plan.OpClaim || on == plan.OpFence || on == plan.OpFeed || on == plan.OpPrecheck || on == plan.OpRestore
	case plan.OpFence:
		return on == plan.OpClaim
	case plan.OpReroute:
		return on == plan.OpPrecheck
	}

	return false
}

// note keeps what came of an attempt.
func (r *run) note(ctx workflow.Context, e ended) machine.Event {
	if e.Timer > 0 {
		return machine.Elapsed{Timer: e.Timer}
	}

	s := r.step(e.Step)
	s.Error, s.Finished = e.Error, workflow.Now(ctx).UTC()

	if e.Said != "" {
		s.Said = e.Said
	}

	if len(e.Inside) > 0 {
		s.Inside, s.InDoubt, s.Resolved = e.Inside, e.InDoubt, e.Resolved
	}

	if e.Halves != nil {
		r.out.HalfDone = e.Halves
	}

	if e.Loss != nil {
		r.out.Loss = e.Loss
	}

	if len(e.Out) > 0 && string(e.Out) != "null" {
		r.outs[e.Step] = e.Out
		r.laid(e.Step, s.Op, e.Out)
	}

	delete(r.halts, e.Step)

	if e.Undo {
		r.unlaid(s.Op, e)
		return machine.Undid{Step: e.Step, Failed: e.Failed}
	}

	return machine.Ended{Step: e.Step, Failed: e.Failed, Untouched: e.Failed && e.Untouched}
}

// decoded reads what an activity gave back. Plain data reads the same each time; the
// checker sees reflection.
//
//workflowcheck:ignore
func decoded(out json.RawMessage, into any) bool { return json.Unmarshal(out, into) == nil }

// laid keeps to which moment a run goes, and what a shard was laid down to, for whoever
// reads how the run went.
func (r *run) laid(step string, op plan.Op, out json.RawMessage) {
	switch op {
	case plan.OpPrecheck:
		var b atmoment.Bound
		if decoded(out, &b) && b.Cut != "" {
			r.out.Moment = &b
		}
	case plan.OpRestore:
		var l atmoment.Laid
		if decoded(out, &l) {
			l.Step = step
			r.out.Laid = append(slices.DeleteFunc(r.out.Laid, func(o atmoment.Laid) bool { return o.Step == step }), l)
		}
	}
}

// unlaid forgets what was taken back.
func (r *run) unlaid(op plan.Op, e ended) {
	if op == plan.OpRestore && !e.Failed {
		r.out.Laid = slices.DeleteFunc(r.out.Laid, func(o atmoment.Laid) bool { return o.Step == e.Step })
	}
}

// shown is how far the run has come.
func (r *run) shown() Out {
	out := r.out
	out.Verdict, out.Past = r.m.Verdict(r.state), r.state.Past
	out.Steps = append([]Step(nil), r.out.Steps...)

	for i, s := range r.state.Steps {
		x := &out.Steps[i]
		x.Status, x.Question, x.Agreed, x.Waived, x.Attempt = s.Status, s.Question, s.Agreed, s.Waived, s.Attempt

		if s.Question == machine.AskApprove {
			subject := r.subject(x.ID)
			x.Subject = &subject

			for _, a := range r.approvals[x.ID] {
				x.Agreed = append(slices.Clone(x.Agreed), a.By)
			}
		}
	}

	return out
}
