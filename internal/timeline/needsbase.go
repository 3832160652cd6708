package timeline

import (
	"fmt"
	"slices"

	"drctl/targets"
)

// Break is where the log is interrupted, between the newest base and the newest
// archived byte. Nothing behind it can be recovered until there is a base behind
// it.
type Break struct {
	Timeline string
	Gap      Gap // the bytes that are lost; empty when the log began anew
}

// String says what is wrong, for a person.
func (b Break) String() string {
	if b.Gap.To > b.Gap.From {
		return fmt.Sprintf("a hole of %d bytes at %s %s, which the server had lost before they were archived; no base lies behind it", b.Gap.To-b.Gap.From, b.Timeline, b.Gap)
	}

	return fmt.Sprintf("the log goes on as %s from %d, and no base leads to it", b.Timeline, b.Gap.To)
}

// NeedsBase walks back from the newest archived byte towards a base. It reports
// what it meets first: a declared hole, or a log that no base leads to. A shard
// without any base is not its business.
func NeedsBase(timelines []Timeline, bases []targets.Artifact) (Break, bool) {
	newest, ok := Newest(timelines)
	if !ok || len(bases) == 0 {
		return Break{}, false
	}

	byID := NewIndex(timelines)
	for s := range byID.Back(targets.Position{Timeline: newest.ID, Offset: ^uint64(0)}) {
		var last Gap
		for _, h := range s.Unfilled() {
			if h.To <= s.UpTo && h.To > last.To {
				last = h
			}
		}

		// A base before the timeline's archived beginning leads nowhere.
		if slices.ContainsFunc(bases, func(b targets.Artifact) bool {
			return b.From.Timeline == s.ID && b.From.Offset >= max(last.To, s.Offset) && b.From.Offset <= s.UpTo
		}) {
			return Break{}, false
		}

		switch parent, known := byID[s.Parent.Timeline]; {
		case last.To > 0:
			return Break{s.ID, last}, true
		case !known:
			return Break{newest.ID, Gap{newest.Offset, newest.Offset}}, true
		case s.Offset > s.Parent.Offset:
			from := s.Parent.Offset
			for _, h := range parent.Unfilled() {
				if h.To == from {
					from = h.From // lost on both sides of the switch
				}
			}

			return Break{s.ID, Gap{from, s.Offset}}, true
		}
	}

	return Break{}, false
}
