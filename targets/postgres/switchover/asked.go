package switchover

import (
	"context"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/indoubt"
	"drctl/targets/postgres/timelines"
)

// InDoubt lists what is prepared in the whole cluster, the oldest first.
func (s *Switcher) InDoubt(ctx context.Context, in targets.Instance) (out []string, err error) {
	const op = "switch: prepared transactions"

	conn, err := s.o.Dial.SQL(ctx, op, in)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))

	all, err := indoubt.List(ctx, conn, nil)
	if err != nil {
		return nil, s.o.Dial.Explain(op, in, "", err)
	}

	for _, t := range all {
		out = append(out, t.String())
	}

	return out, nil
}

// Place is where a standby stands.
func (s *Switcher) Place(ctx context.Context, in targets.Instance) (targets.Position, error) {
	at, _, done, err := s.Standby(ctx, "switch: place", in)
	if err != nil {
		return targets.Position{}, err
	}

	done()

	return position(at), nil
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

	var at string
	var timeline int64

	var seen time.Time
	if err := one.ask(ctx, op, one.grant("pg_monitor"), `SELECT coalesce(max(latest_end_lsn)::text, ''), coalesce(max(received_tli), 0), coalesce(max(latest_end_time), 'epoch')
		FROM pg_catalog.pg_stat_wal_receiver`, nil, &at, &timeline, &seen); err != nil {
		return handover.Heard{}, err
	}

	if at == "" || timeline <= 0 {
		return handover.Heard{}, fail.Newf(fail.NotFound, op, in.String(), "it hears of no primary")
	}
	p := timelines.Point{System: v.system, Timeline: uint32(timeline)}

	if p.Offset, err = targets.ParseLSN(at); err != nil {
		return handover.Heard{}, err
	}

	return handover.Heard{At: position(p), Seen: seen.UTC()}, nil
}
