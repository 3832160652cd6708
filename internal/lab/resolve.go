package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// gidPrefix marks the prepared transactions that are the shop's.
const gidPrefix = "shop:"

// gidOf names a transfer's prepared transactions, with the shards that take
// part, so that whoever finds one knows whom to ask.
func gidOf(r Record) string {
	return fmt.Sprintf("%s%s:%d:%d", gidPrefix, r.ID, r.Shards[0], r.Shards[1])
}

func parseGID(gid string) (id string, shards []int, ok bool) {
	f := strings.Split(strings.TrimPrefix(gid, gidPrefix), ":")
	if !strings.HasPrefix(gid, gidPrefix) || len(f) != 3 {
		return "", nil, false
	}
	a, errA := strconv.Atoi(f[1])
	b, errB := strconv.Atoi(f[2])
	return f[0], []int{a, b}, errA == nil && errB == nil
}

// doubt is a transfer whose decision is known and not carried out everywhere.
type doubt struct {
	rec    Record
	gid    string
	commit bool
}

func (t *traffic) leave(d doubt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doubts = append(t.doubts, d)
}

// resolver carries out decisions that were left, once a second.
func (t *traffic) resolver(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.resolveDoubts(ctx)
		}
	}
}

func (t *traffic) resolveDoubts(ctx context.Context) {
	t.mu.Lock()
	todo := t.doubts
	t.doubts = nil
	t.mu.Unlock()
	for _, d := range todo {
		octx, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := t.decide(octx, d)
		cancel()
		if err != nil {
			t.leave(d)
			continue
		}
		t.mu.Lock()
		t.rep.Resolved++
		t.mu.Unlock()
		if d.commit {
			d.rec.Outcome, d.rec.Ack = Resolved, time.Now().UnixNano()
			t.journal.Append(d.rec)
		}
	}
}

// decide commits or rolls back on every shard of a transfer. A shard that has
// no such prepared transaction has carried out the decision already, or never
// prepared, which only a decision to roll back can meet.
func (t *traffic) decide(ctx context.Context, d doubt) error {
	verb := "ROLLBACK"
	if d.commit {
		verb = "COMMIT"
	}
	for _, i := range d.rec.Shards {
		c, err := dial(ctx, t.opt.Platform.Orders[i], "shop-resolver")
		if err != nil {
			return err
		}
		err = c.exec(ctx, verb+" PREPARED '"+d.gid+"'")
		closeConn(c)
		var pe *pgconn.PgError
		if err != nil && (!errors.As(err, &pe) || pe.Code != "42704") { // undefined_object
			return err
		}
	}
	return nil
}

// resolveFound looks for prepared transactions of the shop that nobody
// remembers: those of a traffic process that was killed. One that committed on
// any of its shards is committed everywhere, any other is rolled back. It
// must run while no client does. It returns how many it resolved, and how
// many it could not.
func (t *traffic) resolveFound(ctx context.Context) (resolved, left int) {
	for i, in := range t.opt.Platform.Orders {
		found, err := t.prepared(ctx, i)
		if err != nil {
			t.opt.Log.Debug("cannot look for prepared transactions", "instance", in.String(), "err", err)
			continue
		}
		for _, gid := range found {
			octx, cancel := context.WithTimeout(ctx, 5*time.Second)
			err := t.settle(octx, gid)
			cancel()
			if err != nil {
				left++
				t.opt.Log.Warn("prepared transaction left", "instance", in.String(), "gid", gid, "err", err)
				continue
			}
			resolved++
		}
	}
	t.mu.Lock()
	t.rep.Resolved += resolved
	t.mu.Unlock()
	return resolved, left
}

func (t *traffic) prepared(ctx context.Context, i int) (gids []string, err error) {
	octx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := dial(octx, t.opt.Platform.Orders[i], "shop-resolver")
	if err != nil {
		return nil, err
	}
	defer closeConn(c)
	err = c.rows(octx, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND gid LIKE '"+gidPrefix+"%'", func(v [][]byte) error {
		gids = append(gids, string(v[0]))
		return nil
	})
	return gids, err
}

// settle finds out the decision of a forgotten transaction and carries it out.
func (t *traffic) settle(ctx context.Context, gid string) error {
	id, shards, ok := parseGID(gid)
	if !ok {
		return fmt.Errorf("%q is not a name that this program gives", gid)
	}
	commit := false
	for _, i := range shards {
		if i < 0 || i >= len(t.opt.Platform.Orders) {
			return fmt.Errorf("%q names shard %d, which is not part of the platform", gid, i)
		}
		c, err := dial(ctx, t.opt.Platform.Orders[i], "shop-resolver")
		if err != nil {
			return err
		}
		n, err := c.number(ctx, "SELECT count(*) FROM transfers WHERE id = '"+id+"'")
		closeConn(c)
		if err != nil {
			return err
		}
		commit = commit || n > 0
	}
	d := doubt{rec: Record{ID: id, Kind: Transfer, Style: TwoPhase, Shards: shards}, gid: gid, commit: commit}
	if err := t.decide(ctx, d); err != nil {
		return err
	}
	if commit && t.journal != nil {
		d.rec.Outcome, d.rec.Ack = Resolved, time.Now().UnixNano()
		t.journal.Append(d.rec)
	}
	return nil
}
