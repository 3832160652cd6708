package search_test

import (
	"fmt"
	"slices"
	"testing"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/prooftest"
	"drctl/internal/proof/prove"
	"drctl/internal/proof/search"
	"drctl/internal/sandbox/sandboxtest"
)

// mutant is a prover that leaves something out.
type mutant struct {
	name string
	find func(proof.Look, proof.Policy) (*proof.Result, error)
}

func mutants() (all []mutant) {
	for c := 1; c <= search.Conditions; c++ {
		all = append(all, mutant{fmt.Sprintf("condition %d", c), func(l proof.Look, p proof.Policy) (*proof.Result, error) {
			return search.FindWithout(l, p, c)
		}})
	}

	return append(all, mutant{"the width of a sample", func(l proof.Look, p proof.Policy) (*proof.Result, error) {
		return search.Find(exactly(l), p)
	}})
}

// exactly takes the first sample of each clock for exact, and the clock for one
// that runs well ever after. What makes a clock's ranges right in the other
// respects is tested where it is.
func exactly(l proof.Look) proof.Look {
	l.Stretches = slices.Clone(l.Stretches)
	for i := range l.Stretches {
		s := &l.Stretches[i]

		first, last := s.Samples[0], s.Samples[len(s.Samples)-1].T1
		first.T0 = (first.T0 + first.T1) / 2
		first.T1 = first.T0
		s.Samples = []clock.Sample{first}

		for t := first.T0 + 1e6; t <= last; t += 1e6 {
			s.Samples = append(s.Samples, clock.Sample{T0: t, T1: t, Stamp: first.Stamp + clock.Stamp(t-first.T0)})
		}
	}

	return l
}

// A prover that leaves out any one condition grants a cut that loses a cause or
// cuts a global transaction in two, and the simulator finds it. So does the checker.
func TestEachConditionIsNeeded(t *testing.T) {
	left := mutants()
	n := uint64(sandboxtest.Size(10_000, 20_000))

	for seed := uint64(0); seed < n && len(left) > 0; seed++ {
		h := prooftest.Run(seed, prooftest.Hostile(seed))

		left = slices.DeleteFunc(left, func(m mutant) bool {
			kind := convicted(t, h, m)
			if kind != "" {
				t.Logf("%s left out: seed %d gives a cut that is %s", m.name, seed, kind)
			}

			return kind != ""
		})
	}

	for _, m := range left {
		t.Errorf("nothing in %d histories needs %s", n, m.name)
	}
}

// convicted is what is wrong with a cut that a mutant grants, if it is more than the instant.
func convicted(t *testing.T, h *prooftest.History, m mutant) string {
	t.Helper()

	for _, g := range []proof.Grade{proof.Proven, proof.Ordered} {
		p := h.Policy
		p.Grades, p.Pick, p.Most = []proof.Grade{g}, proof.All, 50

		res, err := m.find(h.Look, p)
		if err != nil {
			t.Fatal(err)
		}

		for _, c := range res.Cuts {
			for _, w := range h.Judge(&c) {
				if w.Kind != "causal" && w.Kind != "half" {
					continue
				}

				if prove.Check(&c, &h.Look, &p).Accepted {
					t.Errorf("without %s a cut is %s, and the checker accepts it: %s", m.name, w.Kind, w.Text)
				}

				return w.Kind
			}
		}
	}

	return ""
}
