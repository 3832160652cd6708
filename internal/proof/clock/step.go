package clock

// StepBetween is the step that a clock made between two samples of it, one after the other, if it surely made
// one: what New notices of neighbours.
func StepBetween(a, b Sample) (Step, bool) {
	c := Clock{drift: Drift}
	if c.agree(a, b) {
		return Step{}, false
	}

	return stepOf(a, b), true
}

func stepOf(a, b Sample) Step {
	went := int64(b.Stamp - a.Stamp)
	return Step{a.T0, b.T1, went - int64(b.T1-a.T0), went - int64(b.T0-a.T1)}
}
