package stretch_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/proof"
	"drctl/internal/proof/shardlog"
	"drctl/targets/postgres/observe"
	"drctl/targets/postgres/stretch"
	"drctl/targets/postgres/wal"
)

// one is a server with a table and a client, in the middle of being observed.
type one struct {
	*server
	conn *pgx.Conn
	ask  *observe.Session // over the same connection
	o    *observation.Observer
}

func newOne(t *testing.T, level string) *one {
	t.Helper()
	s := newServer(t, "orders/0", map[string]string{"wal_level": level})
	x := &one{server: s, conn: s.connect(t), o: observation.NewObserver()}
	x.ask = session(t, x.conn)
	do(t, x.conn, "CREATE TABLE a (n int)")
	do(t, x.conn, "CHECKPOINT")

	return x
}

// here is where the server's log ends, all of it on disk. The server writes records
// of its own, which it flushes a moment later.
func (x *one) here(t *testing.T) wal.LSN {
	t.Helper()
	n := len(x.seen)

	for i := 1; ; i++ {
		one := x.observed(t, x.o, x.ask)
		if one.Flush == one.Insert || t.Failed() {
			x.seen = append(x.seen[:n], one)
			return one.Flush
		}

		if i%50 == 0 { // at the end of a page the two places are never the same
			do(t, x.conn, "SELECT pg_logical_emit_message(false, 'other', 'x')")
		}

		time.Sleep(10 * time.Millisecond)
	}
}

// commit does statements in a transaction of their own.
func (x *one) commit(t *testing.T, statements ...string) {
	t.Helper()
	do(t, x.conn, "BEGIN")

	for _, sql := range statements {
		do(t, x.conn, sql)
	}

	do(t, x.conn, "COMMIT")
}

func (x *one) read(t *testing.T, src stretch.Source, missing ...shardlog.Missing) *shardlog.Result {
	t.Helper()

	res, err := stretch.Read(src)
	if err != nil {
		t.Fatal(err)
	}

	if !slices.Equal(res.Missing, missing) {
		t.Errorf("%v is missing, want %v", res.Missing, missing)
	}

	for i, r := range res.Records {
		if r.Start < res.From || r.End > res.To || i > 0 && r.Start < res.Records[i-1].End {
			t.Errorf("record %d at [%d,%d) is not in its place", i, r.Start, r.End)
		}
	}

	if reached := !slices.Contains(missing, shardlog.NoLog) && !slices.Contains(missing, shardlog.NotReached); reached {
		whole := !slices.Contains(missing, shardlog.NotWhole)
		if res.Reached == nil || (res.KnownFrom != nil) != whole || whole && (*res.KnownFrom > *res.Reached) != slices.Contains(missing, shardlog.LateWhole) {
			t.Errorf("reached at %v, known from %v", res.Reached, res.KnownFrom)
		}
	} else if res.Reached != nil || res.KnownFrom != nil || res.Ended != nil {
		t.Errorf("reached at %v, known from %v, ended at %v, of which nothing is known", res.Reached, res.KnownFrom, res.Ended)
	}

	return res
}

// TestRecords reads one of each kind of transaction.
func TestRecords(t *testing.T) {
	for _, level := range []string{"replica", "logical"} {
		x := newOne(t, level)
		from := x.here(t)
		x.commit(t, "INSERT INTO a VALUES (1)")
		x.commit(t, "INSERT INTO a VALUES (1)", tag("g", 2), "SELECT pg_logical_emit_message(true, 'drctl/note', 'n')",
			"SELECT pg_logical_emit_message(true, 'drctl/globals', 'n')", "SELECT pg_logical_emit_message(true, 'other', 'n')")
		do(t, x.conn, "SELECT pg_logical_emit_message(false, 'drctl/global', 'loose/2')")
		x.commit(t, "SAVEPOINT s", tag("kept", 3), "RELEASE s", "SAVEPOINT s", tag("lost", 3), "ROLLBACK TO s")
		x.commit(t, "SELECT pg_logical_emit_message(true, 'drctl/global', repeat('x', 4094) || '/12')")
		do(t, x.conn, "BEGIN; INSERT INTO a VALUES (1); "+tag("aborted", 2)+"; ROLLBACK")

		for _, end := range []string{"COMMIT", "ROLLBACK"} {
			do(t, x.conn, "BEGIN; "+tag(end, 2)+"; PREPARE TRANSACTION 'gid "+end+"'")
			do(t, x.conn, end+" PREPARED 'gid "+end+"'")
		}
		to := x.here(t)

		cut := strings.Repeat("x", 4094) + "/1…" // and not one of a single part
		want := []proof.Record{{Kind: proof.Commit}, {Kind: proof.Commit, Tags: []string{"g/2"}}, {Kind: proof.Commit, Tags: []string{"kept/3"}}, {Kind: proof.Commit, Tags: []string{cut}},
			{Kind: proof.Prepare, GID: "gid COMMIT", Tags: []string{"COMMIT/2"}}, {Kind: proof.CommitPrepared, GID: "gid COMMIT", Tags: []string{"COMMIT/2"}},
			{Kind: proof.Prepare, GID: "gid ROLLBACK", Tags: []string{"ROLLBACK/2"}}, {Kind: proof.AbortPrepared, GID: "gid ROLLBACK", Tags: []string{"ROLLBACK/2"}}}

		res := x.read(t, x.source(t, from, to))
		if len(res.Records) != len(want) || len(res.Earlier) != 0 {
			t.Fatalf("%s: %d records and %d earlier ones: %+v", level, len(res.Records), len(res.Earlier), res.Records)
		}

		for i, got := range res.Records {
			if w := want[i]; got.Kind != w.Kind || got.GID != w.GID || !slices.Equal(got.Tags, w.Tags) {
				t.Errorf("%s: record %d is %v %q %q, want %v %q %q", level, i, got.Kind, got.GID, got.Tags, w.Kind, w.GID, w.Tags)
			}

			if seen := x.seen; got.Stamp < seen[0].Stamp || got.Stamp > seen[len(seen)-1].Stamp {
				t.Errorf("%s: record %d is stamped %d, want between %d and %d", level, i, got.Stamp, seen[0].Stamp, seen[len(seen)-1].Stamp)
			}
		}

		// The same log from the middle on: what is before it is not forgotten.
		later := x.read(t, x.source(t, wal.LSN(want4(res)), to))
		if len(later.Records) != 4 || len(later.Earlier) != 3 {
			t.Errorf("%s: %d records and %d earlier ones, want 4 and 3 with tags", level, len(later.Records), len(later.Earlier))
		}
	}
}

func want4(res *shardlog.Result) uint64 { return res.Records[4].Start }

// TestIdle reads a log in which nothing happens: it was observed to end.
func TestIdle(t *testing.T) {
	x := newOne(t, "replica")
	at := x.here(t)

	last := x.seen[0]
	if again := x.observed(t, x.o, x.ask); again.Insert == at { // and not a record of the server's own
		last = again
	}

	res := x.read(t, x.source(t, at, at))
	if len(res.Records) != 0 || res.From != res.To || res.Ended == nil || *res.Ended != last.T0 || *res.Reached != x.seen[0].T1 {
		t.Errorf("an idle log: %+v", res.Stretch)
	}

	// What comes later takes the end back, and nothing else.
	x.commit(t, "INSERT INTO a VALUES (1)")
	x.here(t)

	if res := x.read(t, x.source(t, at, at)); res.Ended == nil || *res.Ended != last.T0 {
		t.Errorf("the log went on, and is seen to end at %d, want %d", *res.Ended, last.T0)
	}
}

// TestUnseenPrepare reads from behind the PREPARE of a transaction: while it is
// prepared nothing is known, and then from there on.
func TestUnseenPrepare(t *testing.T) {
	x := newOne(t, "replica")
	do(t, x.conn, "BEGIN; "+tag("g", 2)+"; PREPARE TRANSACTION 'p'")
	do(t, x.conn, "SELECT pg_switch_wal()")
	x.commit(t, "INSERT INTO a VALUES (1)", tag("h", 1))
	do(t, x.conn, "CHECKPOINT")
	from := x.here(t)
	x.commit(t, "INSERT INTO a VALUES (1)", tag("i", 1))
	middle := x.here(t)
	do(t, x.conn, "COMMIT PREPARED 'p'")
	do(t, x.conn, "CHECKPOINT")
	x.commit(t, "INSERT INTO a VALUES (1)", tag("j", 1))
	to := x.here(t)

	behind := func(to wal.LSN) stretch.Source {
		src := x.source(t, from, to)
		if _, err := io.CopyN(io.Discard, src.Log, segment); err != nil {
			t.Fatal(err)
		}
		src.Options.Start += segment

		return src
	}

	if res := x.read(t, behind(middle), shardlog.NotWhole); len(res.Records) != 1 || res.Records[0].Tags[0] != "i/1" {
		t.Errorf("while it is prepared: %+v", res.Records)
	}

	res := x.read(t, behind(to), shardlog.LateWhole)
	if len(res.Records) != 3 || res.Records[2].Tags[0] != "j/1" || *res.KnownFrom != x.seen[len(x.seen)-1].T1 {
		t.Errorf("behind the unseen transaction: from %d, %+v", res.From, res.Records)
	}

	if r := res.Records[1]; r.Kind != proof.CommitPrepared || r.GID != "" || len(r.Tags) != 0 {
		t.Errorf("the unseen transaction: %+v", r)
	}

	// From the beginning on nothing is missing.
	if res := x.read(t, x.source(t, from, to)); len(res.Records) != 3 || res.Records[1].GID != "p" || len(res.Records[1].Tags) != 1 {
		t.Errorf("of the whole log: %+v", res.Records)
	}
}

// TestUnobserved leaves out what observations would have to say.
func TestUnobserved(t *testing.T) {
	x := newOne(t, "replica")
	first := x.here(t)
	x.commit(t, "INSERT INTO a VALUES (1)")
	to := x.here(t)
	before, after := x.seen[0], x.seen[1]

	src := func(seen ...stretch.Observation) stretch.Source {
		src := x.source(t, first, to)
		src.Observations = seen

		return src
	}

	x.read(t, src(), shardlog.NotReached)

	other := after

	other.Timeline = 2
	if res := x.read(t, src(other), shardlog.NotReached); len(res.Samples) != 0 {
		t.Error("samples of another timeline are used")
	}

	// It was flushed when that was seen first, whatever the order of what was seen.
	if res := x.read(t, src(after, other, before)); *res.Reached != before.T1 || *res.Ended != after.T0 || len(res.Samples) != 2 || res.Samples[0] != before.Sample {
		t.Errorf("reached at %d and ended at %d", *res.Reached, *res.Ended)
	}

	// A place that was only inserted may be written anew.
	inserted := before

	inserted.Flush, inserted.Insert = first-8, to+8
	if res := x.read(t, src(inserted, after)); *res.Reached != after.T1 {
		t.Error("an inserted place counts as reached")
	}

	beyond := after

	beyond.Insert = to + 8
	if res := x.read(t, src(before, beyond)); res.Ended == nil || *res.Ended != before.T0 {
		t.Error("a log that went on counts as ended")
	}

	// The log is not there up to where it is wanted, or not at all.
	more := src(before, after)

	more.To += 2 * segment
	if res := x.read(t, more, shardlog.EndsEarly); res.To < uint64(to) || res.To >= uint64(more.To) {
		t.Errorf("the log ends at %d, want %d or little more", res.To, to)
	}

	none := src(before, after)
	none.Log = strings.NewReader("")
	x.read(t, none, shardlog.NoLog, shardlog.EndsEarly)
}

// TestInvalid refuses sources that cannot be.
func TestInvalid(t *testing.T) {
	ok := stretch.Source{Log: strings.NewReader(""), From: 8, To: 8, Options: wal.Options{Timelines: []wal.Timeline{{ID: 1}}}}
	for name, spoil := range map[string]func(*stretch.Source){
		"backwards":       func(s *stretch.Source) { s.From = 9 },
		"no timeline":     func(s *stretch.Source) { s.Options.Timelines = nil },
		"before timeline": func(s *stretch.Source) { s.Options.Timelines = []wal.Timeline{{ID: 1}, {ID: 2, Begin: 9}} },
		"not a page":      func(s *stretch.Source) { s.Options.Start = 8 },
	} {
		src := ok
		spoil(&src)

		if _, err := stretch.Read(src); !fail.Is(err, fail.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}

	if _, err := stretch.Read(ok); err != nil {
		t.Error(err)
	}
}

// TestPieces feeds a log in pieces of any size, and at once: both say the same.
func TestPieces(t *testing.T) {
	x := newOne(t, "replica")
	from := x.here(t)

	for i := range 30 {
		x.commit(t, "INSERT INTO a SELECT generate_series(1, 200)", tag("g", 2))

		if i%5 == 0 {
			do(t, x.conn, "BEGIN; "+tag("p", 2)+"; PREPARE TRANSACTION 'p'")
			do(t, x.conn, "COMMIT PREPARED 'p'")
			do(t, x.conn, "CHECKPOINT")
			x.here(t)
		}
	}
	to := x.here(t)

	src, o := x.log(t)

	all := make([]byte, to-o.Start)
	if _, err := io.ReadFull(src, all); err != nil {
		t.Fatal(err)
	}

	open := func(pieces ...[]byte) *stretch.Log {
		l, err := stretch.Open(x.in.Shard, "1", o)
		if err != nil {
			t.Fatal(err)
		}

		for _, p := range pieces {
			if err := l.Feed(bytes.NewReader(p)); err != nil {
				t.Fatal(err)
			}
		}

		return l
	}
	want := open(all)
	rnd := rand.New(rand.NewPCG(4, 4))

	for range 20 {
		pieces := [][]byte{all[:rnd.IntN(len(all)/2)]}
		for rest := all[len(pieces[0]):]; len(rest) > 0; {
			n := min(1+rnd.IntN(50_000), len(rest))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		got := open(pieces...)

		for _, at := range []wal.LSN{o.Start, from, from + wal.LSN(rnd.IntN(int(to-from))), to, to + 8192} {
			a, b := want.Stretch(at, x.seen), got.Stretch(at, x.seen)
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("from %v: at once %+v, in pieces %+v", at, a, b)
			}

			got.Forget(at)
		}
	}

	whole := want.Stretch(from, x.seen)
	if len(whole.Records) < 42 || whole.To < uint64(to) || whole.Ended == nil || len(whole.Missing) > 0 {
		t.Errorf("%d records to %d, ended %v, %v", len(whole.Records), whole.To, whole.Ended, whole.Missing)
	}

	// What was forgotten makes it begin later, and no commit is missing behind that.
	want.Forget(wal.LSN(whole.Records[20].Start))

	if later := want.Stretch(from, x.seen); later.From < whole.Records[20].Start || !reflect.DeepEqual(later.Records, whole.Records[20:]) {
		t.Errorf("from %d it has %d records", later.From, len(later.Records))
	}
}
