package machine

import (
	"slices"
	"time"
)

// wait sets the timer of a step.
func (t *turn) wait(i int, d time.Duration) {
	t.s.Timers++
	t.s.Steps[i].Timer = t.s.Timers
	t.out = append(t.out, Wait{Step: t.steps[i].ID, Timer: t.s.Timers, For: d})
}

// elapsed is the end of a pause, or of the time that people had.
func (t *turn) elapsed(timer int) bool {
	i := slices.IndexFunc(t.s.Steps, func(s StepState) bool { return s.Timer == timer && timer > 0 })
	if i < 0 {
		return false
	}

	s := &t.s.Steps[i]
	s.Timer = 0

	switch {
	case s.Status == Asking:
		s.Question = ""

		t.failed(i)
	case t.s.Aborting:
		s.Status = Failed // to be undone again
	default:
		t.again(i)
	}

	return true
}

// again puts a step in its turn once more.
func (t *turn) again(i int) {
	t.s.Steps[i].Status, t.s.Steps[i].Question, t.s.Steps[i].Timer = Waiting, "", 0
	at, _ := slices.BinarySearch(t.s.Ready, i)
	t.s.Ready = slices.Insert(t.s.Ready, at, i)
}

// ask puts a question. What people may think about for ever has no timer.
func (t *turn) ask(i int, q Question) {
	n := t.steps[i]
	t.s.Steps[i].Status, t.s.Steps[i].Question, t.s.Steps[i].Timer = Asking, q, 0

	people := 1
	if q == AskApprove {
		people = max(1, n.People)
	}
	t.out = append(t.out, Ask{Step: n.ID, Question: q, People: people})

	if n.Limit > 0 && q != AskFailed && q != AskUndo {
		t.wait(i, n.Limit)
	}
}

// answered takes what a person said, and reports whether it could be said.
func (t *turn) answered(i int, a Answered) bool {
	s, n := &t.s.Steps[i], t.steps[i]

	if a.By == "" {
		return false
	}

	switch a.Answer {
	case SaySkip, SayVouch, SayGiveUp:
		if a.Reason == "" {
			return false
		}
	}

	if a.Answer == SaySkip {
		return t.waived(i, a)
	}

	if s.Status != Asking {
		return false
	}

	switch s.Question {
	case AskApprove, AskConfirm, AskRun:
		return t.decided(i, a)
	case AskUndo:
		return t.undoDecided(i, a)
	}

	switch {
	case a.Answer == SayRetry:
		s.Attempt = 0

		t.again(i)
	case a.Answer == SayVouch && n.Vouch && !n.Op.Asks():
		s.Waived = a.By + ": " + a.Reason

		t.end(i, Done)
	case a.Answer == SayGiveUp && t.s.Past:
		t.end(i, Failed)
	case a.Answer == SayGiveUp:
		t.end(i, Failed)
		t.abort("it was given up: " + a.By + " gave up " + n.ID)
	default:
		return false
	}

	return true
}

// waived lets a step count as done that has not begun, or that has failed.
func (t *turn) waived(i int, a Answered) bool {
	s := &t.s.Steps[i]

	idle := s.Status == Waiting || s.Status == Pausing || s.Status == Asking
	if !idle || t.steps[i].Op.Fixed() || s.Question == AskUndo || t.stopping() {
		return false
	}

	s.Waived = a.By + ": " + a.Reason
	if s.Status != Waiting {
		t.end(i, Done)
	}

	return true // one that waits counts as done in its turn, not before
}

// decided takes a yes or a no.
func (t *turn) decided(i int, a Answered) bool {
	s, n := &t.s.Steps[i], t.steps[i]

	switch {
	case a.Answer == SayNo:
		t.failed(i)
		return true
	case a.Answer != SayYes || slices.Contains(s.Agreed, a.By):
		return false
	}

	s.Agreed = append(slices.Clone(s.Agreed), a.By)

	switch {
	case s.Question == AskRun:
		t.again(i)
	case s.Question == AskApprove && len(s.Agreed) < max(1, n.People) && !a.Alone:
	default:
		t.end(i, Done)
	}

	return true
}
