package simulate

import (
	"context"
	"runtime"
	"slices"
	"sync"

	"drctl/restore/machine"
)

// shownFindings bounds how many schedules a summary names.
const shownFindings = 10

// Summary is what came of many schedules.
type Summary struct {
	Definition string `json:"definition"` // the plan's hash
	Mode       string `json:"mode"`
	FirstSeed  uint64 `json:"first_seed"`
	Schedules  int    `json:"schedules"`
	Faults     int    `json:"faults"`
	Reached    int    `json:"reached"`
	TakenBack  int    `json:"taken_back"`
	Parted     int    `json:"parted"` // people gave up in between
	Violated   int    `json:"violated"`
	// Findings are the first schedules in which something was that must never be.
	Findings []Result `json:"findings,omitempty"`
}

// Sound reports whether nothing was found.
func (s Summary) Sound() bool { return s.Violated == 0 }

// Many plays so many schedules from a seed on, on all processors, after the one in
// which nothing goes wrong. What it returns does not depend on how many processors
// there are. It ends early with the context's error.
func (tb *Table) Many(ctx context.Context, first uint64, schedules int) (Summary, error) {
	out := Summary{Definition: tb.d.Hash(), Mode: string(tb.mode), FirstSeed: first, Schedules: schedules}
	results := make([]Result, schedules)
	next := make(chan int)

	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				results[i] = tb.Play(first+uint64(i), false) //nolint:gosec // an index is not negative
			}
		})
	}

	err := deal(ctx, next, schedules)

	wg.Wait()

	if err != nil {
		return out, err
	}

	for _, r := range slices.Insert(results, 0, tb.Play(0, false)) {
		out.count(r)
	}

	return out, nil
}

// deal hands the schedules out.
func deal(ctx context.Context, next chan<- int, n int) error {
	defer close(next)

	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
			return ctx.Err()
		}
	}

	return nil
}

func (s *Summary) count(r Result) {
	s.Faults += r.Faults

	switch {
	case len(r.Violated) > 0:
		s.Violated++
		if len(s.Findings) < shownFindings {
			s.Findings = append(s.Findings, r)
		}
	case r.Verdict == machine.Reached:
		s.Reached++
	case r.Verdict == machine.TakenBack:
		s.TakenBack++
	default:
		s.Parted++
	}
}
