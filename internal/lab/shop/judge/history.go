package judge

import (
	"fmt"
	"iter"
	"slices"

	"drctl/internal/fail"
	"drctl/internal/lab/shop/journal"
)

// History is what journals say, made ready for judging many cuts. It is not changed by
// judging and safe for concurrent use.
type History struct {
	ops   []*journal.Record // the last record of each
	steps []step
	// Unseen counts what was seen by steps and is in no journal.
	Unseen int
}

// step is a step with those that it had seen.
type step struct {
	op  *journal.Record
	n   int
	saw []int
	// acked is when its outcome was told, or 0.
	acked int64
}

func (s *step) Step() *journal.Step { return &s.op.Steps[s.n] }

func (s *step) String() string {
	return fmt.Sprintf("step %d of the %s %s", s.n, s.op.Kind, s.op.ID)
}

// Steps counts the steps.
func (h *History) Steps() int { return len(h.steps) }

// Operations are the operations, by their last records.
func (h *History) Operations() []*journal.Record { return h.ops }

// NewHistory reads journals. A shard that the platform does not have is invalid: the
// journal is another's.
func NewHistory(shards, masters int, journals ...iter.Seq2[journal.Record, error]) (*History, error) {
	h := &History{}
	at := map[string]int{}

	for _, records := range journals {
		for r, err := range records {
			if err != nil {
				return nil, err
			}

			if i, ok := at[r.ID]; ok {
				h.ops[i] = &r
				continue
			}

			at[r.ID] = len(h.ops)
			h.ops = append(h.ops, &r)
		}
	}

	ids := map[string]int{}
	for _, op := range h.ops {
		for n := range op.Steps {
			s := &op.Steps[n]
			if most := map[bool]int{false: shards, true: masters}[s.Redis]; s.Shard < 0 || s.Shard >= most {
				return nil, fail.Newf(fail.Invalid, "judge", op.ID, "the journal names shard %d, and the platform has %d", s.Shard, most)
			}

			ids[journal.StepID(op.ID, n)] = len(h.steps)
			h.steps = append(h.steps, step{op: op, n: n, acked: told(op, s)})
		}
	}

	for i := range h.steps {
		s := &h.steps[i]

		for _, id := range s.Step().Saw {
			if cause, ok := ids[id]; ok {
				s.saw = append(s.saw, cause)
			} else {
				h.Unseen++
			}
		}
	}

	return h, nil
}

// told is when somebody was told that a step is done.
func told(op *journal.Record, s *journal.Step) int64 {
	if s.AckNS > 0 {
		return s.AckNS
	}

	return op.Acked() // it was settled afterwards
}

// finished says whether the operation has no more steps than the journal knows.
func finished(op *journal.Record) bool {
	if op.Kind != journal.KindSaga || op.Status == journal.Acked {
		return true
	}
	last := op.Steps[len(op.Steps)-1]

	return last.SentNS > 0 && len(last.Tag) > 0 && last.Tag[len(last.Tag)-1] == '.'
}

// late says whether an operation can have been half done for longer than the
// limit at the instant of a claim.
func late(op *journal.Record, c *Claim) bool {
	long := func(s journal.Step) bool {
		since := s.SentNS
		if s.GID != "" {
			since = s.BeginNS // its PREPARE is stamped, at some time after that
		}

		return since > 0 && since+int64(c.Limit) < c.Until
	}
	open := func(s journal.Step) bool { return s.AckNS == 0 || s.AckNS > c.Since }

	return c.Limit > 0 && slices.ContainsFunc(op.Steps, long) && (slices.ContainsFunc(op.Steps, open) || !finished(op))
}
