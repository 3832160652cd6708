package activities_test

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres"
)

// unquiesced is a driver whose barrier locks nothing: positions are named while
// the writers write, on one shard a little later than on the one before.
type unquiesced struct{ targets.Driver }

type unlocked struct {
	targets.Member
	in    targets.Instance
	at    targets.Position
	delay time.Duration
}

func (d unquiesced) Join(ctx context.Context, in targets.Instance, req targets.JoinRequest) (targets.Member, error) {
	m, err := d.Driver.(targets.Quiescer).Join(ctx, in, req)
	if err != nil {
		return nil, err
	}

	st, err := d.Probe(ctx, in)
	if err != nil {
		m.Close()
		return nil, err
	}
	at := targets.Position{Kind: in.Kind, Timeline: st.Position.Timeline, RestorePoint: postgres.RestorePoint(req.CutID)}

	return &unlocked{Member: m, in: in, at: at, delay: 40 * time.Millisecond * time.Duration(in.Shard.Shard[0]-'0')}, nil
}

func (*unlocked) LockGate(context.Context, time.Duration) error { return nil }
func (*unlocked) Lock(context.Context, time.Duration) error     { return nil }
func (*unlocked) Unlock(context.Context) error                  { return nil }
func (*unlocked) Release(context.Context) error                 { return nil }

func (m *unlocked) Mark(ctx context.Context) (targets.Position, error) {
	time.Sleep(m.delay)

	c, err := pgx.Connect(ctx, sandboxtest.DSN(m.in, m.in.Database))
	if err != nil {
		return targets.Position{}, err
	}
	defer c.Close(ctx)

	var lsn string
	if err := c.QueryRow(ctx, "SELECT pg_create_restore_point($1)::text", m.at.RestorePoint).Scan(&lsn); err != nil {
		return targets.Position{}, err
	}
	at := m.at
	at.Offset, err = targets.ParseLSN(lsn)

	return at, err
}
