package postgres

import (
	"context"
	"fmt"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/postgres/gatelock"
)

// GateKey is the text whose hashtextextended(key, 0) is the advisory lock key
// of a group's gate.
func GateKey(group string) string { return "drctl/gate/" + group }

// LockGate takes the group's advisory lock exclusively. While it waits, those who
// come after it wait behind it. So it does not wait a second time for somebody
// who has held the gate for longer than an attempt may take.
func (m *member) LockGate(ctx context.Context, wait time.Duration) error {
	const op = "cut: gate"
	if !m.req.Gate {
		return fail.Newf(fail.Invalid, op, m.in.String(), "the member was not joined for the gate")
	}

	if m.gate {
		return nil
	}

	if m.open {
		return fail.Newf(fail.Internal, op, m.in.String(), "the gate comes before the tables")
	}

	if m.refused && m.usable(op) == nil {
		if err := m.refuseGate(ctx, op); err != nil {
			return err
		}
	}

	sql := m.begin() + limits(min(wait, m.maxWait)) + "SELECT pg_advisory_xact_lock(hashtextextended(" + quoteLiteral(GateKey(m.req.Group)) + ", 0)); " + m.restoreLimits()
	if err := m.step(ctx, op, sql, "ROLLBACK"); err != nil {
		return m.nameHolder(ctx, op, err)
	}
	m.gate = true

	return nil
}

func (m *member) gateHolder(ctx context.Context) (who string, age float64, err error) {
	return gatelock.Holder(ctx, m.conn, GateKey(m.req.Group))
}

// GateUse tells who uses the gate now, and who takes it for another lock.
func (m *member) GateUse(ctx context.Context) (targets.GateUse, error) {
	return gatelock.Use(ctx, m.conn, GateKey(m.req.Group))
}

const gateHint = "wait for it, or end it with pg_terminate_backend"

// refuseGate refuses a gate that somebody has held for longer than an attempt
// may take. The question stalls nobody.
func (m *member) refuseGate(ctx context.Context, op string) error {
	if !m.req.Gate {
		return nil
	}

	who, age, err := m.gateHolder(ctx)
	if err != nil || age <= m.req.Budget.Seconds() {
		return nil // nobody, or not for long; a session that broke is found by the next statement
	}

	return fail.New(fail.Stalled, op, m.in.String(), gateHint, fmt.Errorf("the gate is held by %s", who))
}

// nameHolder adds to a gate that was not granted who holds it. Nothing is
// locked by then, so the question stalls nobody.
func (m *member) nameHolder(ctx context.Context, op string, err error) error {
	if !fail.Is(err, fail.Stalled) || m.usable(op) != nil || ctx.Err() != nil {
		return err
	}
	m.refused = true

	who, _, herr := m.gateHolder(ctx)
	if herr != nil {
		return err // it has let go since, or the time is up
	}

	return fail.New(fail.Stalled, op, m.in.String(), gateHint, fmt.Errorf("the gate is held by %s: %w", who, err))
}
