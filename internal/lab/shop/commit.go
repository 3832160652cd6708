package shop

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/stores"
	"drctl/internal/lab/shop/transfer"
)

// add begins a step of an operation, and returns its number.
func (c *client) add(rec *journal.Record, s journal.Step) int {
	s.BeginNS = time.Now().UnixNano()
	rec.Steps = append(rec.Steps, s)

	return len(rec.Steps) - 1
}

// begin journals that the commit of a step is about to be sent, and what its
// client had been told of before.
func (c *client) begin(rec *journal.Record, n int) error {
	s := &rec.Steps[n]
	first := rec.CommitNS == 0

	// What a prepared transaction follows from was fixed when it was prepared. Only
	// the first of its kind that is committed decides anything.
	if s.GID == "" || first {
		s.Saw = append(s.Saw, c.told()...)
	}

	if s.SentNS = time.Now().UnixNano(); first {
		rec.CommitNS = s.SentNS
	}

	if err := c.journal.Write(rec); err != nil {
		if s.SentNS = 0; first {
			rec.CommitNS = 0
		}

		return err
	}
	rec.Status = journal.Unknown // until the answer is in

	return nil
}

// commit ends a step by COMMIT or COMMIT PREPARED.
func (c *client) commit(ctx context.Context, conn *pgx.Conn, rec *journal.Record, n int, tag, sql string) error {
	if err := c.begin(rec, n); err != nil {
		return err
	}

	at, err := stores.Commit(ctx, conn, tag, sql, c.Proxied)
	s := &rec.Steps[n]
	s.Committed = &journal.Bounds{Low: at.Low, High: at.High}

	if at.XID != 0 {
		s.XID = at.XID
	}

	if err == nil {
		c.acknowledged(rec, n)
	}

	return err
}

// acknowledged: from now on the client knows of the step, and tells others.
func (c *client) acknowledged(rec *journal.Record, n int) {
	now := time.Now()

	rec.Steps[n].AckNS = now.UnixNano()
	if rec.Kind != journal.KindBatch { // nobody waits for it
		c.meter.Wrote(&rec.Steps[n], now)
	}

	c.last = journal.StepID(rec.ID, n)
	id := c.last
	c.board[c.rng.IntN(len(c.board))].Store(&id)
}

// told is what the client knows of: its own last step, and one that another told
// it of.
func (c *client) told() (ids []string) {
	if c.last != "" {
		ids = append(ids, c.last)
	}

	if id := c.board[c.rng.IntN(len(c.board))].Load(); id != nil && *id != c.last {
		ids = append(ids, *id)
	}

	return ids
}

// prepare ends the first phase of a step.
func (c *client) prepare(ctx context.Context, conn *pgx.Conn, rec *journal.Record, n int) error {
	s := &rec.Steps[n]
	s.GID, s.Saw = transfer.GID(rec.ID, n), append(s.Saw, c.told()...)

	at, err := stores.Commit(ctx, conn, "PREPARE TRANSACTION", "PREPARE TRANSACTION '"+s.GID+"'", c.Proxied)
	s.XID, s.Prepared = at.XID, &journal.Bounds{Low: at.Low, High: at.High}

	return err
}

// statement writes the tag of a step into its shard's log; nothing where there
// is none.
func statement(s journal.Step) string {
	if s.Tag == "" {
		return ""
	}

	return "SELECT pg_logical_emit_message(true, 'drctl/global', '" + stores.Text(s.Tag) + "'); "
}

// tag names the n-th of so many local transactions of a global one. Where their
// number is not known beforehand, all but the last have a plus.
func (c *client) tag(id string, n, of int, counted bool) string {
	switch {
	case !c.Tag:
		return ""
	case counted:
		return fmt.Sprintf("%s/%d", id, of)
	case n == of-1:
		return id + "/."
	}

	return id + "/+"
}
