package rounds

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Fork is what a failover may undo: writes from the end of the old side's history.
type Fork struct {
	// Since is an instant until when nothing is lost; zero when none is known. What was acknowledged by then stays.
	Since time.Time
	// From and To are when it happened at the earliest and at the latest.
	From, To time.Time
}

// checkLimit ends the search for an order: one that is there is found in a fraction of it.
const checkLimit = 2 * time.Minute

// Judgement is what a history shows.
type Judgement struct {
	Reads, Writes, Unknown int
	// Wrong says why no order explains the history; "" when one does.
	Wrong string
}

// Check looks for an order in which a register's operations explain what they returned: each takes
// effect between its call and its return. With a fork that undoes the last writes at most once.
func Check(begins int64, ops []Op, fork *Fork) (j Judgement) {
	reads := map[int64]time.Time{} // when each value was first known to be there
	for _, o := range ops {
		switch {
		case !o.Write:
			j.Reads++

			if at, ok := reads[o.Value]; !ok || o.Return.Before(at) {
				reads[o.Value] = o.Return
			}
		case o.Return.IsZero():
			j.Unknown++
		default:
			j.Writes++
		}
	}

	var history []porcupine.Operation

	written := map[int64]bool{begins: true}
	for _, o := range ops {
		late := fork != nil && (o.Return.IsZero() || fork.Since.IsZero() || o.Return.After(fork.Since))
		if o.Write && o.Return.IsZero() {
			// It counts as never done where nobody has seen it, else it was done when that was.
			at, seen := reads[o.Value]
			if !seen {
				continue
			}
			o.Return = later(at, o.Call)
		}

		written[o.Value] = written[o.Value] || o.Write
		history = append(history, porcupine.Operation{ClientId: o.Client, Input: input{o.Write, false, late, o.Value}, Output: o.Value, Call: o.Call.UnixNano(), Return: o.Return.UnixNano()})
	}

	for v, at := range reads {
		if !written[v] {
			j.Wrong = fmt.Sprintf("%d was read until %s, and nobody had written it", v, at.UTC().Format(time.RFC3339Nano))
			return j
		}
	}

	if fork != nil {
		history = append(history, porcupine.Operation{ClientId: -1, Input: input{fork: true}, Call: fork.From.UnixNano(), Return: later(fork.To, fork.From).UnixNano()})
	}

	switch result, info := porcupine.CheckOperationsVerbose(register(begins), history, checkLimit); result {
	case porcupine.Ok:
	case porcupine.Unknown:
		j.Wrong = "no order was found in time"
	default:
		j.Wrong = "no order explains it: " + around(info, history)
	}

	return j
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}

	return a
}

// input is one operation: a write, a read, or the fork. What is late may be undone by the fork.
type input struct {
	write, fork, late bool
	value             int64
}

// value is what a register has: any of some values, the last first. The others are those that a fork can
// bring back, or, behind it, those of which one is there and nobody has looked.
type value struct {
	v    int64
	was  *value
	many bool
}

func (x *value) has(v int64) bool {
	for ; x != nil; x = x.was {
		if x.v == v {
			return true
		}
	}

	return false
}

func same(a, b *value) bool {
	for a != b {
		if a == nil || b == nil || a.v != b.v || a.many != b.many {
			return false
		}
		a, b = a.was, b.was
	}

	return true
}

// register is the model. It is deterministic: what is not known is part of the state.
func register(begins int64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return &value{v: begins} },
		Step: func(state, in, out any) (bool, any) {
			x, i := state.(*value), in.(input)

			switch {
			case i.fork:
				return true, &value{v: x.v, was: x.was, many: true}
			case i.write && i.late && !x.many:
				return true, &value{v: i.value, was: x}
			case i.write:
				return true, &value{v: i.value}
			case !x.many:
				return x.v == out.(int64), x
			}

			return x.has(out.(int64)), &value{v: out.(int64)}
		},
		Equal: func(a, b any) bool { return same(a.(*value), b.(*value)) },
		Hash:  func(state any) uint64 { return uint64(state.(*value).v) },
		DescribeOperation: func(in, out any) string {
			switch i := in.(input); {
			case i.fork:
				return "fork"
			case i.write:
				return fmt.Sprintf("write %d", i.value)
			}

			return fmt.Sprintf("read %d", out)
		},
	}
}

// around lists the operations about the place where the longest order ends.
func around(info porcupine.LinearizationInfo, history []porcupine.Operation) string {
	longest := 0

	for _, part := range info.PartialLinearizationsOperations() {
		for _, ops := range part {
			longest = max(longest, len(ops))
		}
	}

	slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })

	var b strings.Builder

	model := register(0)
	for _, o := range history[max(0, longest-8):min(len(history), longest+8)] {
		fmt.Fprintf(&b, "\n  %d: %s from %s to %s", o.ClientId, model.DescribeOperation(o.Input, o.Output),
			time.Unix(0, o.Call).UTC().Format("15:04:05.000000"), time.Unix(0, o.Return).UTC().Format("15:04:05.000000"))
	}

	return fmt.Sprintf("of %d operations %d have one, and then:%s", len(history), longest, b.String())
}
