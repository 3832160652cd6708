package moment_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/moment"
	"drctl/internal/moment/evidence"
	"drctl/internal/proof"
	"drctl/internal/proof/shardlog"
	"drctl/internal/vault"
	"drctl/targets"
)

// lister takes cut after cut, while others work.
type lister struct {
	w      *world
	finder *moment.Finder
	count  *counted
	ends   map[targets.ShardID]uint64
	conns  []*pgx.Conn
	n      int
}

// cut takes a cut, proves it, and says which are broken. Of the logs what is new is read.
func (l *lister) cut(t *testing.T) kept {
	t.Helper()

	for try := 0; ; try++ {
		found, err := l.find(t)
		if err == nil {
			return l.w.keep(t, found)
		}

		if try == 20 {
			t.Fatal(err)
		}

		t.Logf("nothing: %v", err)

		l.ends = nil // how far it read is not told, and on a slow machine there may be no place for a cut
	}
}

func (l *lister) find(t *testing.T) (*moment.Found, error) {
	t.Helper()
	req := l.w.request()
	from := l.w.observer.Now()

	for i := range 30 {
		for _, c := range l.conns {
			l.n++
			do(t, c, "BEGIN; INSERT INTO moments VALUES (1); "+tag(fmt.Sprint("g", l.n), 1)+"; COMMIT")

			if i%15 == 0 {
				do(t, c, "CHECKPOINT") // and with it the list of open transactions
			}
		}

		time.Sleep(5 * time.Millisecond)
	}

	req.Wish = moment.Wish{Observer: l.w.observer.Name(), Span: proof.Span{From: from, To: l.w.observer.Now()}}
	l.w.settle(t)
	clear(l.count.read)

	found, err := l.finder.Find(t.Context(), req)
	if err != nil {
		return nil, err
	}

	for _, log := range found.Logs() {
		// What is new goes to two readings at most: one that began long ago, and one that follows it.
		if grew := log.To - l.ends[log.Shard]; len(l.ends) > 0 && l.count.read[log.Shard] > 2*grew {
			t.Errorf("%s: %d bytes are new, and %d were read", log.Shard, grew, l.count.read[log.Shard])
		}
	}

	l.ends = map[targets.ShardID]uint64{}
	for _, log := range found.Logs() {
		l.ends[log.Shard] = log.To
	}

	return found, nil
}

func (k kept) lists() (ids []string) {
	for _, b := range k.cut.Proof.Broken {
		ids = append(ids, b.ID)
	}

	return ids
}

// TestBrokenGoesOn: what is broken stays in the list, cut after cut, when nothing of it is read any more, with a
// transaction open for long and in another process too, until its half arrives or somebody says that it is done with. A cut
// that leaves it out is not proven.
func TestBrokenGoesOn(t *testing.T) {
	moment.Forget(t)
	w := newWorld(t)
	l := &lister{w: w, count: &counted{read: map[targets.ShardID]uint64{}}, conns: []*pgx.Conn{w.connect(t, w.pg[0]), w.connect(t, w.pg[1])}}
	l.finder = moment.New(w.v(), map[targets.Kind]shardlog.Opener{targets.Postgres: l.count})

	l.cut(t)
	time.Sleep(2 * limit)

	first := l.cut(t)
	if first.Proof.Grade != proof.Proven || first.cut.Proof.BrokenComplete.IsZero() || len(first.lists()) > 0 {
		t.Fatalf("%+v", first.cut.Proof)
	}

	since := time.Now()

	do(t, l.conns[0], "BEGIN; INSERT INTO moments VALUES (2); "+tag("dead", 2)+"; COMMIT")
	do(t, l.conns[1], "BEGIN; INSERT INTO moments VALUES (2); "+tag("forgiven", 2)+"; COMMIT")

	batch := w.connect(t, w.pg[0])
	do(t, batch, "BEGIN; INSERT INTO moments VALUES (3)")
	time.Sleep(2*limit + 1500*time.Millisecond) // a stretch begins a second before what is wanted, and has to begin behind the first cut

	place := func(k kept) uint64 { return k.Proof.Kept[0].Records[0].Start }
	listed := l.cut(t)

	for n := 0; ; n++ {
		if got := listed.lists(); !slices.Equal(slices.Sorted(slices.Values(got)), []string{"dead", "forgiven"}) {
			t.Fatalf("cut %d lists %v", n, got)
		}

		if !listed.Proof.Based || !listed.cut.Proof.BrokenComplete.Equal(first.cut.Proof.BrokenComplete) {
			t.Fatalf("cut %d does not go on: %+v", n, listed.cut.Proof)
		}

		for _, b := range listed.cut.Proof.Broken {
			if off := b.Since.Sub(since); off < -10*time.Millisecond || off > time.Minute {
				t.Errorf("%s is said to be broken since %s, and is since %s", b.ID, b.Since, since)
			}
		}

		if n == 1 {
			do(t, batch, "COMMIT")
		}

		if n > 1 && listed.Logs()[0].Start > place(listed) { // nothing of it was read
			break
		}

		if n == 120 {
			t.Fatal("it is still being read")
		}

		listed = l.cut(t)
	}

	l.forged(t, listed)

	l.finder, l.ends = moment.New(w.v(), map[targets.Kind]shardlog.Opener{targets.Postgres: l.count}), nil
	if got := l.cut(t).lists(); len(got) != 2 {
		t.Errorf("another process lists %v", got)
	}

	do(t, l.conns[1], "BEGIN; INSERT INTO moments VALUES (2); "+tag("dead", 2)+"; COMMIT")

	if got := l.cut(t).lists(); !slices.Equal(got, []string{"forgiven"}) {
		t.Errorf("the half has arrived, and the list is %v", got)
	}

	do(t, l.conns[1], "SELECT pg_logical_emit_message(true, 'drctl/global', 'forgiven/.')")

	if k := l.cut(t); len(k.lists()) > 0 || k.cut.Proof.BrokenCount > 0 {
		t.Errorf("all is whole, and the list is %v", k.lists())
	}
}

// forged leaves broken ones out, in the cut and in its evidence; it is refused.
func (l *lister) forged(t *testing.T, k kept) {
	t.Helper()

	for name, less := range map[string]func(c *targets.CutProof, e *evidence.Record){
		"left out": func(c *targets.CutProof, e *evidence.Record) {
			e.Proof.Broken, e.Proof.Kept, e.BrokenSince = nil, nil, nil
			c.Broken, c.BrokenCount = nil, 0
		},
		"left out in the base too": func(c *targets.CutProof, e *evidence.Record) {
			e.Proof.Broken, e.Proof.Kept, e.BrokenSince = nil, nil, nil
			e.Base.Kept, e.Base.Since = nil, nil
			c.Broken, c.BrokenCount = nil, 0
		},
		"complete for longer": func(c *targets.CutProof, e *evidence.Record) {
			e.Complete = e.Complete.Add(-time.Hour)
			e.Base.Complete, c.BrokenComplete = e.Complete, e.Complete
		},
		"another since": func(c *targets.CutProof, _ *evidence.Record) { c.Broken[0].Since = c.Broken[0].Since.Add(time.Second) },
	} {
		cut, content, err := k.Cut(targets.NewID(k.cut.QuiescedAt), "test")
		if err != nil {
			t.Fatal(err)
		}
		var e evidence.Record

		if err := json.Unmarshal(content, &e); err != nil {
			t.Fatal(err)
		}

		if less(cut.Proof, &e); name != "another since" {
			if content, err = json.Marshal(e); err != nil {
				t.Fatal(err)
			}
		}
		sum := sha256.Sum256(content)
		cut.Proof.Evidence = hex.EncodeToString(sum[:])

		if _, err := l.w.set.PutEncrypted(t.Context(), vault.EvidenceKey(group, cut.ID), nil, content); err != nil {
			t.Fatal(err)
		}

		rep, err := moment.Prove(t.Context(), l.w.v(), openers(), &cut, nil)
		if err != nil || rep.Accepted {
			t.Errorf("%s: accepted, %v", name, err)
			continue
		}

		t.Logf("%s: %v", name, rep.Faults[:1])

		if err := l.w.v().Store().Delete(t.Context(), vault.EvidenceKey(group, cut.ID)); err != nil {
			t.Fatal(err)
		}
	}
}
