package lab

import (
	"context"
	"fmt"
	"time"
)

// transfer moves money and goods from one shard to another, in random shard
// order. All writes on both shards come before the first commit on either.
func (c *client) transfer(ctx context.Context) bool {
	a := c.rnd.IntN(len(c.pg))
	b := (a + 1 + c.rnd.IntN(len(c.pg)-1)) % len(c.pg)
	r := Record{ID: c.id().String(), Kind: Transfer, Style: c.t.opt.Style, Shards: []int{a, b}, Money: 1 + c.rnd.Int64N(50),
		Goods: 1 + c.rnd.Int64N(5), Outcome: Failed, Begin: time.Now().UnixNano()}
	if r.Style == Mix {
		r.Style = [...]Style{TwoPhase, Plain}[c.rnd.IntN(2)]
	}
	err := c.withGate(ctx, func() error {
		pa, err := c.shard(ctx, a)
		if err != nil {
			return err
		}
		pb, err := c.shard(ctx, b)
		if err != nil {
			return err
		}
		if err = pa.exec(ctx, c.half(r, b, -1)); err == nil {
			err = pb.exec(ctx, c.half(r, a, 1))
		}
		if err != nil {
			c.rollback(ctx, pa)
			c.rollback(ctx, pb)
			return err
		}
		if r.Style == TwoPhase {
			return c.twoPhase(ctx, &r, pa, pb)
		}
		return c.plain(ctx, &r, pa, pb)
	})
	c.t.finish(r, err)
	return r.Outcome == Acked
}

// half is one shard's part: money and goods with a sign, and the row that
// says so.
func (c *client) half(r Record, peer int, sign int64) string {
	return fmt.Sprintf("BEGIN;UPDATE accounts SET balance = balance + (%d) WHERE id = %d;UPDATE stock SET qty = qty + (%d) WHERE sku = %d;"+
		"INSERT INTO transfers (id, style, peer, money, goods) VALUES ('%s', '%s', %d, %d, %d)",
		sign*r.Money, c.account(), sign*r.Goods, c.item(), r.ID, r.Style, peer, sign*r.Money, sign*r.Goods)
}

// withGate holds the group's gate shared while f runs: from before the first
// write to after the last commit. This is all that a platform has to do.
func (c *client) withGate(ctx context.Context, f func() error) error {
	if !c.t.opt.Gate {
		return f()
	}
	if c.gate == nil || c.gate.IsClosed() {
		pc, err := dial(ctx, c.t.opt.Platform.Orders[0], "shop-gate")
		if err != nil {
			return err
		}
		c.gate = pc
	}
	key := fmt.Sprintf("hashtextextended('drctl/gate/%s', 0)", c.t.opt.Platform.group())
	if err := c.gate.exec(ctx, "SELECT pg_advisory_lock_shared("+key+")"); err != nil {
		closeConn(c.gate)
		return err
	}
	err := f()
	if uerr := c.gate.exec(ctx, "SELECT pg_advisory_unlock_shared("+key+")"); uerr != nil {
		closeConn(c.gate) // the server lets go with the session
	}
	return err
}

// plain commits one shard after the other.
func (c *client) plain(ctx context.Context, r *Record, pa, pb *conn) error {
	r.Commit = time.Now().UnixNano()
	err := pa.exec(ctx, "COMMIT")
	if err != nil {
		if !refused(err) {
			r.Outcome = Unknown
		}
		c.rollback(ctx, pa)
		c.rollback(ctx, pb)
		return err
	}
	r.Outcome = Unknown
	if err = pb.exec(ctx, "COMMIT"); err != nil {
		c.rollback(ctx, pb)
		return err
	}
	r.Ack, r.Outcome = time.Now().UnixNano(), Acked
	return nil
}

// twoPhase prepares both shards, and then commits both. Before the first
// COMMIT PREPARED the decision is no, after it is sent it is yes; whatever
// cannot be carried out at once is left to the resolver.
func (c *client) twoPhase(ctx context.Context, r *Record, pa, pb *conn) error {
	gid := gidOf(*r)
	for _, pc := range []*conn{pa, pb} {
		err := pc.exec(ctx, "PREPARE TRANSACTION '"+gid+"'")
		if err == nil {
			continue
		}
		// This shard may or may not have prepared, the one before it has.
		c.rollback(ctx, pa)
		c.rollback(ctx, pb)
		c.t.leave(doubt{rec: *r, gid: gid, commit: false})
		return err
	}
	r.Commit, r.Outcome = time.Now().UnixNano(), Unknown
	for _, pc := range []*conn{pa, pb} {
		if err := pc.exec(ctx, "COMMIT PREPARED '"+gid+"'"); err != nil {
			closeConn(pc)
			c.t.leave(doubt{rec: *r, gid: gid, commit: true})
			return err
		}
	}
	r.Ack, r.Outcome = time.Now().UnixNano(), Acked
	return nil
}
