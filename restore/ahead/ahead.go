package ahead

import (
	"context"
	"fmt"
	"slices"

	"drctl/internal/fail"
	"drctl/internal/stream"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
	"drctl/targets/handover"
)

const op = "recovery plan"

// Line is a place of a log, with the history of its timeline (PostgreSQL).
type Line struct {
	At      targets.Position `json:"at"`
	History []byte           `json:"history,omitempty"`
	// Heard is how far the new side knew that the old one had come, beyond what it
	// got; nil when it heard of nobody.
	Heard *handover.Heard `json:"heard,omitempty"`
}

// Of is the line of a shard's log that a vault has, and the way from where a standby stands
// to its end; no way when there is no more. A gap behind the standby is an error, and never the end.
func Of(ctx context.Context, v *vault.Vault, id targets.ShardID, at targets.Position) (line Line, path []targets.Span, err error) {
	ls, newest, err := outline(ctx, v, id)
	if err != nil {
		return line, nil, err
	}
	line = Line{At: targets.Position{Kind: at.Kind, Timeline: newest.ID, Offset: newest.Tip()}, History: newest.History}

	switch {
	case newest.ID == at.Timeline && line.At.Offset <= at.Offset:
	case newest.ID == at.Timeline:
		path = []targets.Span{{Timeline: newest.ID, From: at.Offset, To: line.At.Offset}}
	default: // the standby is ahead, or on another branch, which its promotion finds out; or it leads on from there
		x := timeline.NewIndex(ls)
		if !leads(x, line.At, at.Timeline) {
			return line, nil, nil
		}

		if path, err = x.Spans(at, line.At); err != nil {
			return line, nil, fail.New(fail.NotFound, op, id.String(), "try again; or give the part up: skip the step with a reason",
				fmt.Errorf("the vault of %s goes on to %s behind the standby at %s, by a way that it does not have whole: %w", v.Region(), line.At, at, err))
		}
	}

	return line, path, nil
}

// End is the line of a shard's log that a vault has.
func End(ctx context.Context, v *vault.Vault, id targets.ShardID, k targets.Kind) (Line, error) {
	_, newest, err := outline(ctx, v, id)
	return Line{At: targets.Position{Kind: k, Timeline: newest.ID, Offset: newest.Tip()}, History: newest.History}, err
}

// outline are the timelines that a vault has of a shard, and the newest of them.
func outline(ctx context.Context, v *vault.Vault, id targets.ShardID) (ls []timeline.Timeline, newest timeline.Timeline, err error) {
	if ls, err = stream.Outline(ctx, v, id); err != nil {
		return nil, newest, err
	}

	if len(ls) == 0 {
		return nil, newest, fail.New(fail.NotFound, op, id.String(), "recover the shard from another vault (drctl restore run --into instances), or promote it by hand",
			fmt.Errorf("the vault of %s has no log of the shard: whether the standby is on the right line is not known", v.Region()))
	}

	return ls, slices.MaxFunc(ls, func(a, b timeline.Timeline) int { return a.LastSeen().Compare(b.LastSeen()) }), nil
}

// leads reports whether the way to a place goes over a timeline, or may: where it is lost
// nobody knows.
func leads(x timeline.Index, to targets.Position, over string) bool {
	for s := range x.Back(to) {
		if s.ID == over || !s.Known || !s.Origin {
			return true
		}
	}

	return false
}

// Held is nil when the vault has every byte of the path.
func Held(ctx context.Context, v *vault.Vault, id targets.ShardID, path []targets.Span) error {
	if len(path) == 0 {
		return nil
	}

	ls, err := stream.NewTrail(v, id).Load(ctx, stream.Lead{Spans: path})
	if err != nil {
		return err
	}

	for i, s := range path {
		if _, gaps := timeline.Cover(ls[i].Chunks, s.From, s.To); len(gaps) > 0 {
			return fail.New(fail.NotFound, op, id.String(), "try again; or give the part up: skip the step with a reason",
				fmt.Errorf("the vault of %s lacks bytes %s of timeline %s and has some after it", v.Region(), gaps[0], s.Timeline))
		}
	}

	return nil
}
