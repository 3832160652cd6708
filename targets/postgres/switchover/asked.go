package switchover

import (
	"context"

	"drctl/targets"
	"drctl/targets/postgres/indoubt"
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
