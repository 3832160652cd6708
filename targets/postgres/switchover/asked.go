package switchover

import (
	"context"

	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/receiver"
	"drctl/targets/postgres/timelines"
)

// Place is where a standby stands.
func (s *Switcher) Place(ctx context.Context, in targets.Instance) (targets.Position, error) {
	at, err := s.where(ctx, "switch: place", in)
	return position(at), err
}

// Left reads the history of the timeline that a standby follows.
func (s *Switcher) Left(ctx context.Context, in targets.Instance) ([]targets.Position, error) {
	at, err := s.where(ctx, "switch: history", in)
	return at.History.Left(at.System), err
}

func (s *Switcher) where(ctx context.Context, op string, in targets.Instance) (timelines.Point, error) {
	at, _, done, err := s.Standby(ctx, op, in)
	if err == nil {
		done()
	}

	return at, err
}

// Heard is the end of the log that the standby's receiver was told of last.
func (s *Switcher) Heard(ctx context.Context, in targets.Instance) (handover.Heard, error) {
	const op = "switch: heard"

	one := &side{o: &s.o, in: in}
	defer one.close()

	v, err := one.look(ctx, op)
	if err != nil {
		return handover.Heard{}, err
	}

	at, timeline, seen, err := receiver.Heard(op, in, one.receiver(ctx, op))
	if err != nil {
		return handover.Heard{}, err
	}
	p := timelines.Point{System: v.system, Timeline: uint32(timeline)}

	if p.Offset, err = targets.ParseLSN(at); err != nil {
		return handover.Heard{}, err
	}

	return handover.Heard{At: position(p), Seen: seen.UTC()}, nil
}

// Link implements handover.Linked.
func (h *hands) Link(ctx context.Context) (handover.Link, error) {
	return receiver.Link(h.new.receiver(ctx, "switch: link"))
}

// receiver asks about the receiver.
func (s *side) receiver(ctx context.Context, op string) receiver.Ask {
	return func(sql string, into ...any) error { return s.ask(ctx, op, s.grant("pg_monitor"), sql, nil, into...) }
}
