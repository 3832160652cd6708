package machine

import (
	"slices"

	"drctl/restore/plan"
)

// Next returns the state after an event, and what is to be done now, in the
// order of the outline. It does not change the state that it is given. An event
// that cannot be, such as the end of a step that does not run, changes nothing.
func (m *Machine) Next(s State, e Event) (State, []Command) {
	if s.Finished {
		return s, nil
	}

	t := turn{Machine: m, s: s}
	t.s.Steps, t.s.Ready = slices.Clone(s.Steps), slices.Clone(s.Ready)

	if !t.take(e) {
		return s, nil
	}

	t.start()
	t.unwind()

	if t.s.Open == 0 && t.s.Running == 0 && !t.unwinding() {
		t.s.Finished = true
		t.out = append(t.out, Finish{})
	}

	return t.s, t.out
}

// turn is one call of Next.
type turn struct {
	*Machine
	s   State
	out []Command
}

// take notes an event, and reports whether it could be.
func (t *turn) take(e Event) bool {
	if t.s.Steps == nil {
		_, cancelled := e.(Cancelled)
		if _, begin := e.(Begin); !begin && !cancelled {
			return false
		}

		t.begin()

		if cancelled {
			t.cancel()
		}

		return true
	}

	switch e := e.(type) {
	case Ended:
		i, ok := t.index[e.Step]
		if !ok || t.s.Steps[i].Status != Running {
			return false
		}

		t.s.Running--
		t.ended(i, e)
	case Undid:
		i, ok := t.index[e.Step]
		if !ok || t.s.Steps[i].Status != Undoing {
			return false
		}

		t.s.Running--
		t.undid(i, e.Failed)
	case Elapsed:
		return t.elapsed(e.Timer)
	case Answered:
		i, ok := t.index[e.Step]

		return ok && t.answered(i, e)
	case Cancelled:
		if t.s.Cancelled {
			return false
		}

		t.cancel()
	default:
		return false
	}

	return true
}

func (t *turn) begin() {
	t.s.Steps, t.s.Open = make([]StepState, len(t.steps)), len(t.steps)

	for i, n := range t.unmet {
		t.s.Steps[i].Unmet = n
		if n == 0 {
			t.s.Ready = append(t.s.Ready, i)
		}
	}
}

// ended notes the end of an attempt.
func (t *turn) ended(i int, e Ended) {
	s, n := &t.s.Steps[i], t.steps[i]

	if !e.Failed {
		t.end(i, Done)
		return
	}

	if e.Untouched { // it is as if it had not begun
		s.Past, s.Began = false, 0
		t.s.Past = slices.ContainsFunc(t.s.Steps, func(o StepState) bool { return o.Past })

		if t.s.Cancelled && !t.s.Past && !t.s.Aborting { // the cancellation had come too late, and has not now
			t.end(i, Failed)
			t.abort("it was cancelled")

			return
		}
	}

	if s.Attempt < max(1, n.Retry.Attempts) && !t.stopping() {
		s.Status = Pausing
		t.wait(i, n.Retry.Pause(s.Attempt))

		return
	}

	t.failed(i)
}

// stopping reports whether nothing new is to begin, a second attempt included.
func (t *turn) stopping() bool { return t.s.Aborting || t.s.Cancelled && !t.s.Past }

// failed is when a step has failed for good.
func (t *turn) failed(i int) {
	kind := t.steps[i].IfFails

	switch {
	case t.stopping() || kind != plan.Abort && kind != plan.AskPeople:
		t.end(i, Failed)
	case kind == plan.AskPeople || t.s.Past:
		t.ask(i, AskFailed)
	default:
		t.end(i, Failed)
		t.abort("it was given up: " + t.steps[i].ID + " failed")
	}
}

// end notes that a step has ended, and all that ends with it: what needs a step
// that failed or never ran does not run either.
func (t *turn) end(i int, status Status) {
	t.s.Steps[i].Status, t.s.Steps[i].Question, t.s.Steps[i].Timer = status, "", 0
	t.s.Open--

	if t.s.Aborting {
		t.s.Steps[i].Attempt = 0 // from here on those of its undoing
	}

	for _, j := range t.waiters[i] {
		t.s.Steps[j].Unmet--
		if t.s.Steps[j].Unmet > 0 || t.s.Steps[j].Status != Waiting {
			continue
		}

		if without := t.missing(j); without != "" {
			t.skip(j, without+" was not done")
			continue
		}
		at, _ := slices.BinarySearch(t.s.Ready, j)
		t.s.Ready = slices.Insert(t.s.Ready, at, j)
	}
}

// missing is the first step that another needs and that has not succeeded.
func (t *turn) missing(i int) string {
	for _, j := range t.needs[i] {
		s := t.s.Steps[j].Status
		if s == Done || s == Failed && t.steps[j].IfFails == plan.GoOn {
			continue
		}

		return t.steps[j].ID
	}

	return ""
}

func (t *turn) skip(i int, why string) {
	t.out = append(t.out, Skip{Step: t.steps[i].ID, Why: why})
	t.end(i, Skipped)
}

// cancel lets nothing more begin, and takes back what was begun. Behind the point
// of no return the way out is forward.
func (t *turn) cancel() {
	t.s.Cancelled = true
	if t.s.Past || t.s.Aborting {
		return
	}

	t.abort("it was cancelled")
}

// abort lets nothing more begin. What runs is told by whoever runs it.
func (t *turn) abort(why string) {
	t.s.Ready, t.s.Aborting = nil, t.undoes

	for i := range t.s.Steps {
		s := &t.s.Steps[i]
		if s.Status != Running {
			s.Attempt = 0 // from here on those of its undoing
		}

		switch {
		case s.Status == Running && t.undoes:
			t.out = append(t.out, Halt{Step: t.steps[i].ID})
		case s.Status == Running || s.Status.Ended():
		default:
			s.Question, s.Timer = "", 0
			t.s.Open--

			if s.Began > 0 {
				s.Status = Failed
				continue
			}
			s.Status = Skipped
			t.out = append(t.out, Skip{Step: t.steps[i].ID, Why: why})
		}
	}
}

// start begins what is ready, as far as the window goes. What people end, and
// what is not of this mode, takes no place in it.
func (t *turn) start() {
	for k := 0; k < len(t.s.Ready); {
		i := t.s.Ready[k]
		n, s := t.steps[i], &t.s.Steps[i]

		switch {
		case n.Behaviour == plan.Skip || s.Waived != "":
			t.s.Ready = slices.Delete(t.s.Ready, k, k+1)
			if s.Waived == "" {
				s.Waived = OtherMode
			}

			t.end(i, Done)
			k = 0 // what waited for it may stand before

			continue
		case n.Behaviour == plan.Ask && len(s.Agreed) == 0 && s.Attempt == 0:
			t.s.Ready = slices.Delete(t.s.Ready, k, k+1)
			t.ask(i, AskRun)
		case n.Op.Asks() && n.Behaviour != plan.Rehearse:
			t.s.Ready = slices.Delete(t.s.Ready, k, k+1)
			t.began(i)
			s.Agreed = nil

			q := AskConfirm
			if n.Op == plan.OpApprove {
				q = AskApprove
			}

			t.ask(i, q)
		case t.s.Running < t.window:
			t.s.Ready = slices.Delete(t.s.Ready, k, k+1)
			t.began(i)
			s.Status = Running
			s.Attempt++
			t.s.Running++
			t.out = append(t.out, Do{Step: n, Attempt: s.Attempt})
		default:
			k++
		}
	}
}

// began notes that a step begins, and that nothing can undo it from here on if
// the plan says so.
func (t *turn) began(i int) {
	s, n := &t.s.Steps[i], t.steps[i]

	if s.Began == 0 {
		t.s.Began++
		s.Began = t.s.Began
	}

	if n.NoReturn && n.Behaviour != plan.Rehearse {
		s.Past, t.s.Past = true, true
	}
}
