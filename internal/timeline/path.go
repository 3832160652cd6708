package timeline

import (
	"fmt"
	"slices"
	"strings"

	"drctl/internal/fail"
	"drctl/targets"
)

const opPath = "stream: path"

// Path finds the spans of stream that lead from a base to a point, oldest first.
// It walks from the point's timeline through its parents to the base's. A base
// exactly at the point needs no stream: its path is empty.
//
// Errors: not-found, naming "timeline bytes [a,b)", when a chunk on the way is
// missing; not-found when the base is on another branch; invalid when the point
// is before the base.
func Path(timelines []Timeline, base, point targets.Position) ([]targets.Span, error) {
	if base.Timeline == point.Timeline && base.Offset == point.Offset {
		return nil, nil
	}
	byID := NewIndex(timelines)

	spans, err := byID.Spans(base, point)
	if err != nil {
		return nil, err
	}

	var missing []string
	for _, s := range spans {
		_, gaps := Cover(byID[s.Timeline].Chunks, s.From, s.To)
		for _, g := range gaps {
			missing = append(missing, s.Timeline+" bytes "+g.String())
		}
	}

	if len(missing) > 0 {
		return nil, fail.New(fail.NotFound, opPath, strings.Join(missing, ", "),
			"look in the other region's vault, or choose a base after the gap or a point before it", fmt.Errorf("no chunk holds these bytes"))
	}

	return spans, nil
}

// Spans is Path without a look at the chunks: it goes by the records of the
// timelines alone.
func (x Index) Spans(base, point targets.Position) ([]targets.Span, error) {
	return x.spans(base, point, false)
}

// SpansOverLoss is Spans that goes on over lost bytes: a timeline may have been
// archived only from a place behind its parent's end. Its span then begins at
// that end.
func (x Index) SpansOverLoss(base, point targets.Position) ([]targets.Span, error) {
	return x.spans(base, point, true)
}

func (x Index) spans(base, point targets.Position, overLoss bool) (spans []targets.Span, err error) {
	for s := range x.Back(point) {
		if s.ID == base.Timeline {
			if err := notBehind(base, point, s.UpTo); err != nil {
				return nil, err
			}

			if s.UpTo > base.Offset {
				spans = append(spans, targets.Span{Timeline: s.ID, From: base.Offset, To: s.UpTo})
			}

			slices.Reverse(spans)

			return spans, nil
		}

		switch {
		case !s.Known:
			return nil, fail.New(fail.NotFound, opPath, s.ID, "the stream of this timeline was never archived in this vault", fmt.Errorf("unknown timeline"))
		case s.Parent.Timeline == "":
			return nil, fail.New(fail.NotFound, opPath, point.Timeline,
				"choose a base of the same timeline", fmt.Errorf("no way from the base's timeline %s: timeline %s has no known parent", base.Timeline, s.ID))
		case s.UpTo < s.Offset:
			return nil, fail.Newf(fail.Invalid, opPath, s.ID, "the position %d is before the timeline's beginning %d", s.UpTo, s.Offset)
		case s.Offset > s.Parent.Offset && !overLoss:
			return nil, fail.New(fail.NotFound, opPath, s.ID+" bytes "+Gap{s.Parent.Offset, s.Offset}.String(),
				"choose a base of this timeline", fmt.Errorf("the timeline was archived only from %d, it left %s at %d", s.Offset, s.Parent.Timeline, s.Parent.Offset))
		}

		if begins := min(s.Offset, s.Parent.Offset); s.UpTo > begins {
			spans = append(spans, targets.Span{Timeline: s.ID, From: begins, To: s.UpTo})
		}
	}

	return nil, fail.Newf(fail.Corrupt, opPath, point.Timeline, "the timelines' parents form a loop")
}

// notBehind refuses a base that lies behind the offset up to which its timeline
// leads to the point.
func notBehind(base, point targets.Position, upTo uint64) error {
	switch {
	case upTo >= base.Offset:
		return nil
	case base.Timeline == point.Timeline:
		return fail.Newf(fail.Invalid, opPath, point.Timeline, "the point at %d is before the base at %d", point.Offset, base.Offset)
	}

	return fail.New(fail.NotFound, opPath, point.Timeline,
		"choose a base taken before the branches parted",
		fmt.Errorf("the base at %s %d is after the place (%d) where the point's timeline left it", base.Timeline, base.Offset, upTo))
}
