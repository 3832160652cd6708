package machine

import "drctl/restore/plan"

// Verdict is what came of a run.
type Verdict string

// The verdicts.
const (
	Open      Verdict = "open"       // it has not finished
	Reached   Verdict = "reached"    // every critical step was done, or was waived
	TakenBack Verdict = "taken-back" // all that was begun was undone
	Parted    Verdict = "parted"     // it ended in between: some of it was done and stays
)

// Verdict says what came of a run. A run that is Reached may have failed steps
// that were not critical; whether it did all that was hoped for is for others to judge.
func (m *Machine) Verdict(s State) Verdict {
	if !s.Finished {
		return Open
	}

	reached, back := true, s.Aborting

	for i, n := range m.steps {
		x := s.Steps[i]
		if x.Status != Done && n.IfFails != plan.GoOn {
			reached = false
		}

		if x.Status == Left || x.Past {
			back = false
		}
	}

	switch {
	case reached && !s.Aborting:
		return Reached
	case back:
		return TakenBack
	}

	return Parted
}
