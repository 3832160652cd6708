package machine

import (
	"slices"

	"drctl/restore/plan"
)

// undoable reports whether what a step did has still to be taken back.
func (t *turn) undoable(i int) bool {
	s, n := t.s.Steps[i], t.steps[i]

	return n.Undo && n.Behaviour != plan.Rehearse && s.Began > 0 && s.Status != Undone && s.Status != Left
}

// unwinding reports whether something is still to be taken back.
func (t *turn) unwinding() bool {
	if !t.s.Aborting {
		return false
	}

	for i := range t.steps {
		if t.undoable(i) {
			return true
		}
	}

	return false
}

// unwind takes back what was begun once nothing runs any more: a step as soon as
// all are taken back that came after it, the last that began first.
func (t *turn) unwind() {
	if !t.s.Aborting || t.s.Open > 0 {
		return
	}

	var free []int
	held := make([]bool, len(t.steps)) // by what came later

	for _, i := range slices.Backward(t.walk) {
		for _, j := range t.waiters[i] {
			held[i] = held[i] || held[j] || t.undoable(j)
		}

		if s := t.s.Steps[i].Status; !held[i] && t.undoable(i) && (s == Done || s == Failed) {
			free = append(free, i)
		}
	}

	slices.SortFunc(free, func(a, b int) int { return t.s.Steps[b].Began - t.s.Steps[a].Began })

	for _, i := range free {
		if t.s.Running >= t.window {
			return
		}

		s := &t.s.Steps[i]
		s.Status = Undoing
		s.Attempt++
		t.s.Running++
		t.out = append(t.out, Undo{Step: t.steps[i], Attempt: s.Attempt})
	}
}

// undid notes the end of an attempt to take a step back.
func (t *turn) undid(i int, failed bool) {
	s, n := &t.s.Steps[i], t.steps[i]

	switch {
	case !failed:
		s.Status = Undone
	case s.Attempt < max(1, n.Retry.Attempts):
		s.Status = Pausing
		t.wait(i, n.Retry.Pause(s.Attempt))
	default:
		t.ask(i, AskUndo)
	}
}

func (t *turn) undoDecided(i int, a Answered) bool {
	s := &t.s.Steps[i]

	switch a.Answer {
	case SayRetry:
		s.Status, s.Question, s.Attempt = Failed, "", 0
	case SayGiveUp:
		s.Status, s.Question, s.Waived = Left, "", a.By+": "+a.Reason
	default:
		return false
	}

	return true
}
