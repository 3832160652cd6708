package transfer

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/fail"
	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/meter"
	"drctl/internal/lab/shop/stores"
)

// orphanAge is when a prepared transaction of the shop that this journal does
// not know, or that was settled without it, counts as left behind.
const orphanAge = 30 * time.Second

// Doubt settles transfers whose outcome is not known: it ends what is prepared
// and writes the missing half of a plain transfer.
type Doubt struct {
	platform stores.Platform
	journal  *journal.Journal
	log      *slog.Logger

	working sync.Mutex // one settling at a time

	mu      sync.Mutex
	pending map[string]*journal.Record // ended here, not settled
	own     map[string]*journal.Record // journaled transfers by id, of earlier runs and in doubt
	count   meter.Resolved
}

// NewDoubt knows of nothing that is in doubt.
func NewDoubt(p stores.Platform, j *journal.Journal, log *slog.Logger) *Doubt {
	return &Doubt{platform: p, journal: j, log: log, pending: map[string]*journal.Record{}, own: map[string]*journal.Record{}}
}

// Learn takes a record of an earlier run. The last one of an id counts.
func (d *Doubt) Learn(r journal.Record) {
	if !r.Transfer() {
		return
	}

	d.mu.Lock()
	defer d.mu.Unlock()

	delete(d.pending, r.ID)

	switch {
	case r.Status == journal.Acked || r.Status == journal.Failed && r.CommitNS == 0 && r.Style == Plain:
		delete(d.own, r.ID)
	case r.Status == journal.Failed:
		d.own[r.ID] = &r // may have left something prepared
	default:
		d.own[r.ID] = &r
		d.pending[r.ID] = &r
	}
}

// Add hands over a transfer that ended without a clean outcome.
func (d *Doubt) Add(r *journal.Record) {
	c := *r

	d.mu.Lock()
	defer d.mu.Unlock()
	d.pending[c.ID], d.own[c.ID] = &c, &c
}

// Counts is what was settled so far, and what is left.
func (d *Doubt) Counts() meter.Resolved {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.count
	c.Left = len(d.pending)

	return c
}

// Run settles twice a second what is in doubt: a prepared transaction holds
// its locks, and would hold up every barrier.
func (d *Doubt) Run(ctx context.Context) {
	every := time.NewTicker(500 * time.Millisecond)
	defer every.Stop()

	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			sctx, cancel := context.WithTimeout(ctx, stores.Timeout)
			if err := d.Settle(sctx, n%20 == 0); err != nil && ctx.Err() == nil {
				d.log.Warn("shop: transactions stay in doubt", "err", err)
			}

			cancel()
		}
	}
}

// Settle works through what is pending; with sweep it also looks for prepared
// transactions that were left behind. What cannot be settled now stays pending.
func (d *Doubt) Settle(ctx context.Context, sweep bool) error {
	d.working.Lock()
	defer d.working.Unlock()

	d.mu.Lock()

	work := make([]*journal.Record, 0, len(d.pending))
	for _, r := range d.pending {
		work = append(work, r)
	}

	d.mu.Unlock()

	if len(work) == 0 && !sweep {
		return nil
	}

	s := &settling{Doubt: d, conns: make([]*pgx.Conn, len(d.platform.Postgres))}
	defer s.close()

	var errs []error
	if sweep {
		left, err := s.leftBehind(ctx)

		errs = append(errs, err)
		for _, r := range left {
			if !slices.ContainsFunc(work, func(w *journal.Record) bool { return w.ID == r.ID }) {
				work = append(work, r)
			}
		}
	}

	for _, r := range work {
		settled, err := s.one(ctx, r)
		errs = append(errs, err)

		if settled {
			d.mu.Lock()
			delete(d.pending, r.ID)
			d.mu.Unlock()
		}
	}

	return first(errs)
}

func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}

	return nil
}

// settling is one pass with its own connections.
type settling struct {
	*Doubt
	conns []*pgx.Conn
}

func (s *settling) conn(ctx context.Context, shard int) (*pgx.Conn, error) {
	return stores.Ready(ctx, s.platform.Postgres[shard], &s.conns[shard])
}

func (s *settling) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()

	for _, c := range s.conns {
		if c != nil {
			_ = c.Close(ctx)
		}
	}
}

// parseGID reads "shop-<uuid>-<leg>".
func parseGID(gid string) (id string, leg int, ok bool) {
	rest, ok := strings.CutPrefix(gid, "shop-")

	i := strings.LastIndexByte(rest, '-')
	if !ok || i < 0 {
		return "", 0, false
	}

	leg, err := strconv.Atoi(rest[i+1:])
	if err != nil || leg < 0 || leg > 1 {
		return "", 0, false
	}

	if _, err := uuid.Parse(rest[:i]); err != nil {
		return "", 0, false
	}

	return rest[:i], leg, true
}

// leftBehind lists transfers with something prepared that this journal knows
// as ended, and strangers' that are older than any operation lives.
func (s *settling) leftBehind(ctx context.Context) ([]*journal.Record, error) {
	found := map[string]*journal.Record{}

	var errs []error
	for i, in := range s.platform.Postgres {
		c, err := s.conn(ctx, i)
		if err != nil {
			errs = append(errs, err)
			continue
		}

		rows, err := c.Query(ctx, "SELECT gid, prepared < now() - make_interval(secs => $1) FROM pg_prepared_xacts WHERE gid LIKE 'shop-%' AND database = current_database()", orphanAge.Seconds())
		if err != nil {
			errs = append(errs, stores.Failure("shop: list prepared", in, err))
			continue
		}
		var name string
		var old bool
		_, err = pgx.ForEachRow(rows, []any{&name, &old}, func() error {
			id, _, ok := parseGID(name)
			if !ok {
				return nil
			}

			s.mu.Lock()
			own := s.own[id]
			s.mu.Unlock()

			switch {
			case own != nil:
				found[id] = own
			case old && found[id] == nil:
				found[id] = &journal.Record{ID: id, Style: TwoPhase}
			}

			return nil
		})
		errs = append(errs, stores.Failure("shop: list prepared", in, err))
	}

	out := make([]*journal.Record, 0, len(found))
	for _, r := range found {
		out = append(out, r)
	}

	return out, first(errs)
}

// half is what one shard knows of one half of a transfer.
type half struct {
	shard               int
	prepared, committed bool
}

// look asks the shards that can know for both halves of a transfer. Every one
// must answer, since a silent one may hold the half that decides.
func (s *settling) look(ctx context.Context, r *journal.Record) (halves [2]half, err error) {
	halves[0].shard, halves[1].shard = -1, -1

	shards := r.Shards
	if len(shards) != 2 {
		shards = make([]int, len(s.platform.Postgres))
		for i := range shards {
			shards[i] = i
		}
	} else {
		halves[0].shard, halves[1].shard = shards[0], shards[1]
	}

	for _, shard := range shards {
		if shard < 0 || shard >= len(s.conns) {
			return halves, fail.Newf(fail.Invalid, "shop: settle", r.ID, "the journal names shard %d, which the platform does not have", shard)
		}

		c, err := s.conn(ctx, shard)
		if err != nil {
			return halves, err
		}

		for leg := range halves {
			var prepared, committed bool
			// Prepared first: a COMMIT PREPARED between the two is seen as committed.
			err := c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_prepared_xacts WHERE gid = $1 AND database = current_database())", GID(r.ID, leg)).Scan(&prepared)
			if err == nil {
				err = c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM transfers WHERE id = $1 AND leg = $2)", r.ID, leg).Scan(&committed)
			}

			if err != nil {
				return halves, stores.Failure("shop: settle", s.platform.Postgres[shard], err)
			}

			if prepared || committed {
				halves[leg] = half{shard: shard, prepared: prepared && !committed, committed: committed}
			}
		}
	}

	return halves, nil
}

// one settles one transfer, and says whether nothing is left to do. It commits
// both halves when one is committed, or when both are prepared and the journal
// says that the commit was sent; else it rolls back what is prepared.
func (s *settling) one(ctx context.Context, r *journal.Record) (bool, error) {
	halves, err := s.look(ctx, r)
	if err != nil {
		return false, err
	}
	any := halves[0].committed || halves[1].committed

	commit := any || halves[0].prepared && halves[1].prepared && r.CommitNS > 0
	for leg, h := range halves {
		switch {
		case h.prepared && commit:
			err = s.exec(ctx, h.shard, "COMMIT PREPARED '"+GID(r.ID, leg)+"'")
		case h.prepared:
			err = s.exec(ctx, h.shard, "ROLLBACK PREPARED '"+GID(r.ID, leg)+"'")
		case any && !h.committed && r.Style == Plain && len(r.Rows) == 2:
			// A commit that is still under way makes this wait on the key and fail.
			if err = s.exec(ctx, h.shard, "BEGIN; "+SQL(r, leg)+"; COMMIT"); err == nil {
				s.tell(func(c *meter.Resolved) { c.Repaired++ })
			}
		}

		if err != nil {
			return false, err
		}
	}

	return true, s.record(r, halves, commit)
}

// record journals the outcome.
func (s *settling) record(r *journal.Record, halves [2]half, commit bool) error {
	out := *r

	out.Reason = "resolved"
	switch {
	case r.Kind == "": // not of this journal
		return nil
	case commit && !whole(r, halves):
		// Not to be mended: what was prepared is gone.
		out.Status, out.Reason = journal.Unknown, "resolved: one half is missing"
	case commit:
		out.Status, out.AckNS = journal.Acked, time.Now().UnixNano()

		s.tell(func(c *meter.Resolved) { c.Committed++ })
	case r.Style == Plain:
		// Nothing is there now; that no late commit comes, nobody can promise.
		out.Status, out.Reason = journal.Unknown, "resolved: nothing there"
	default:
		out.Status = journal.Failed

		if halves[0].prepared || halves[1].prepared {
			s.tell(func(c *meter.Resolved) { c.RolledBack++ })
		}
	}

	return s.journal.Write(&out)
}

// whole says whether both halves are there once what was prepared is committed
// and what was missing of a plain transfer is written.
func whole(r *journal.Record, halves [2]half) bool {
	for _, h := range halves {
		if !h.prepared && !h.committed && r.Style != Plain {
			return false
		}
	}

	return true
}

func (s *settling) tell(f func(*meter.Resolved)) {
	s.mu.Lock()
	defer s.mu.Unlock()

	f(&s.count)
}

func (s *settling) exec(ctx context.Context, shard int, sql string) error {
	c, err := s.conn(ctx, shard)
	if err != nil {
		return err
	}
	_, err = c.PgConn().Exec(ctx, sql).ReadAll()
	stores.Discard(ctx, c)

	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42704" {
		err = nil // somebody else has ended it; the next look tells how
	}

	return stores.Failure("shop: settle", s.platform.Postgres[shard], err)
}
