package switchover_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/switchover"
)

// Whoever told the new side to take writes was killed. It takes them between two
// questions of who goes on: that is a repeat, and no branch of its own.
func TestPromotedBetweenTwoQuestions(t *testing.T) {
	t.Parallel()

	for step, n := range map[string]int{"stop 1": 1, "stop 2": 2, "promote 1": 1, "promote 2": 2} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()

			p := newPair(t, sandboxtest.Tools(t))
			p.exec(p.a, "INSERT INTO t (note) VALUES ('before')")
			p.archived(p.a)

			first := p.hands(p.a, p.b, 2)
			if _, err := first.Prepare(p.context()); err != nil {
				t.Fatal(err)
			}

			s, err := first.Stop(p.context())
			if err != nil {
				t.Fatal(err)
			}

			// The one before asked for it a moment ago.
			next, err := switchover.New(switchover.Options{Slot: slot, Dial: p.dial(p.b, n, func() {
				p.exec(p.b, "SELECT pg_promote()")
				p.exec(p.b, "INSERT INTO t (note) VALUES ('after')")
			})}).Switch(handover.Request{Old: p.a, New: p.b, Epoch: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer next.Close()

			if strings.HasPrefix(step, "stop") {
				if s, err = next.Stop(p.context()); err != nil {
					t.Fatal(err)
				}
			}

			out, err := next.Promote(p.context(), handover.PromoteRequest{Line: s.At, History: s.History, Exact: true, Silence: []handover.Silence{s.Silence}})
			if err != nil || out.Fork != s.At {
				t.Fatalf("%+v, %v; the old side ended at %v", out, err, s.At)
			}
		})
	}
}

// dial opens sessions, and does something once after the nth question of a server.
func (p *pair) dial(of targets.Instance, n int, once func()) switchover.Dial {
	return switchover.Dial{
		SQL: func(ctx context.Context, _ string, in targets.Instance) (*pgx.Conn, error) {
			cfg, err := pgx.ParseConfig(sandboxtest.DSN(in, in.Database))
			if err != nil {
				return nil, err
			}

			if in.String() == of.String() {
				cfg.Tracer = &after{left: n, do: once}
			}

			return pgx.ConnectConfig(ctx, cfg)
		},
		Log: func(ctx context.Context, _ string, in targets.Instance, _ int) (*pgconn.PgConn, error) {
			return pgconn.Connect(ctx, sandboxtest.DSN(in, in.Database)+"&replication=database")
		},
		Explain: func(_ string, _ targets.Instance, _ string, err error) error { return err },
	}
}

// after does something after some questions.
type after struct {
	left int
	do   func()
}

// TraceQueryStart implements pgx.QueryTracer.
func (a *after) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (a *after) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {
	if a.left--; a.left == 0 {
		a.do()
	}
}
