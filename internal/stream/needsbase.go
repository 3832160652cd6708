package stream

import (
	"fmt"
	"slices"

	"drctl/targets"
)

// Break is where the log that leads to the newest archived byte is interrupted
// after the newest base of it: nothing behind it can be recovered until there
// is a base behind it.
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

// NeedsBase looks from the newest archived byte back for a base, and reports
// the declared hole, or the log that no base leads to, that it meets
// first. A shard without any base is not its business.
func NeedsBase(timelines []Timeline, bases []targets.Artifact) (Break, bool) {
	newest, ok := Newest(timelines)
	if !ok || len(bases) == 0 {
		return Break{}, false
	}
	byID := index(timelines)
	l := newest
	end := ^uint64(0)
	for range timelines {
		var last Gap
		for _, h := range l.unfilled() {
			if h.To <= end && h.To > last.To {
				last = h
			}
		}
		// A base before the timeline's archived beginning leads nowhere.
		if slices.ContainsFunc(bases, func(b targets.Artifact) bool {
			return b.From.Timeline == l.ID && b.From.Offset >= max(last.To, l.Offset) && b.From.Offset <= end
		}) {
			return Break{}, false
		}
		p, known := byID[l.Parent.Timeline]
		switch {
		case last.To > 0:
			return Break{l.ID, last}, true
		case !known:
			return Break{newest.ID, Gap{newest.Offset, newest.Offset}}, true
		case l.Offset > l.Parent.Offset:
			from := l.Parent.Offset
			for _, h := range p.unfilled() {
				if h.To == from {
					from = h.From // lost on both sides of the switch
				}
			}
			return Break{l.ID, Gap{from, l.Offset}}, true
		}
		l, end = p, l.Parent.Offset
	}
	return Break{}, false
}

// unfilled are the declared holes whose bytes no chunk holds: a vault that was
// away can have had them.
func (l Timeline) unfilled() []Gap {
	return slices.DeleteFunc(slices.Clone(l.Holes), func(h Gap) bool {
		_, gaps := Cover(l.Chunks, h.From, h.To)
		return len(gaps) == 0
	})
}
