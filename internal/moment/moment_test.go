package moment_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/moment"
	"drctl/internal/proof"
	"drctl/internal/proof/shardlog"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/targets"
)

// kept is a cut with what found it.
type kept struct {
	*moment.Found
	cut targets.Cut
}

// keep stores the evidence of what was found, and proves it.
func (w *world) keep(t *testing.T, f *moment.Found) kept {
	t.Helper()

	cut, evidence, err := f.Cut(targets.NewID(time.Now()), "test")
	if err != nil {
		t.Fatal(err)
	}

	if err := cut.Check(time.Now()); err != nil {
		t.Fatal(err)
	}

	if _, err := w.set.PutEncrypted(t.Context(), vault.EvidenceKey(group, cut.ID), nil, evidence); err != nil {
		t.Fatal(err)
	}

	rep, err := moment.Prove(t.Context(), w.v(), openers(), &cut, nil)
	if err != nil {
		t.Fatal(err)
	}

	if !rep.Accepted {
		t.Errorf("the cut %s is refused: %v", cut.ID, rep.Faults)
	}

	return kept{f, cut}
}

// TestMoments takes cuts out of the logs of servers that are being worked with, one after the other, and
// moments of the past afterwards. All are proven from the vault alone, and judged by
// what the clients know.
func TestMoments(t *testing.T) {
	w := newWorld(t)
	j, stop := w.work(t, 6)
	count := &counted{read: map[targets.ShardID]uint64{}}
	finder := moment.New(w.v(), map[targets.Kind]shardlog.Opener{targets.Postgres: count})

	var cuts []kept
	var ends map[targets.ShardID]uint64

	began := time.Now()
	time.Sleep(time.Second)

	// On a slow machine some find nothing: then there are more.
	last := time.Now().Add(3 * time.Minute)
	few := func(cuts []kept) bool {
		proven, tags, broken := 0, 0, 0
		for _, c := range cuts {
			tags += c.cut.Proof.Tags
			broken += len(c.cut.Proof.Broken)

			if c.cut.Proof.Grade == targets.Proven {
				proven++
			}
		}

		return (len(cuts) < 8 || proven < 8 || tags == 0 || broken == 0) && time.Now().Before(last)
	}

	for n := 0; n < sandboxtest.Size(15, 60) || few(cuts); n++ {
		req := w.request()
		from := w.observer.Now()

		time.Sleep(150 * time.Millisecond)
		req.Wish = moment.Wish{Observer: w.observer.Name(), Span: proof.Span{From: from, To: w.observer.Now()}}
		w.settle(t)
		clear(count.read)

		found, err := finder.Find(t.Context(), req)
		if err != nil {
			t.Logf("nothing: %v", err)
			ends = nil // how far it read is not told

			continue
		}

		ends = w.cost(t, found, ends, count.read)
		cuts = append(cuts, w.keep(t, found))
	}
	now := len(cuts)

	stop()
	time.Sleep(300 * time.Millisecond)
	w.settle(t)

	rnd := rand.New(rand.NewPCG(1, 2))
	last = time.Now().Add(3 * time.Minute)

	for n := 0; n < sandboxtest.Size(15, 60) || few(cuts[now:]); n++ {
		req := w.request()
		req.Wish.At = began.Add(900*time.Millisecond + time.Duration(rnd.Int64N(int64(time.Since(began)-time.Second))))

		found, err := moment.Find(t.Context(), w.v(), openers(), req)
		if err != nil {
			t.Logf("nothing at %s: %v", req.Wish.At, err)
			continue
		}
		cuts = append(cuts, w.keep(t, found))

		if off := req.Wish.At.Sub(found.At()); off < -10*time.Millisecond || off > 2*time.Minute {
			t.Errorf("wished for %s, and got %s", req.Wish.At, found.At())
		}
	}

	if len(cuts) > now {
		w.partial(t, cuts[now].At())
		w.undeclared(t, cuts[now].At())
	}

	truth := j.judge(t)
	grades := map[targets.Grade]int{}
	tags, doubts, broken := 0, 0, 0

	for _, c := range cuts {
		grades[c.cut.Proof.Grade]++
		tags, broken = tags+c.cut.Proof.Tags, broken+len(c.cut.Proof.Broken)
		doubts += len(c.Proof.InDoubt)

		for i, fault := range truth.wrong(&c.cut, c.Proof.T) {
			if i < 5 {
				t.Errorf("cut %s at %d: %s", c.cut.ID, c.Proof.T, fault)
			}
		}
	}

	t.Logf("%d cuts now and %d of the past, %v; %d tagged, %d in doubt, %d broken; %d operations", now, len(cuts)-now, grades, tags, doubts, broken, len(j.ops))

	if now < 8 || len(cuts)-now < 8 || grades[targets.Proven] < 8 || tags == 0 || broken == 0 {
		t.Fatal("there are too few")
	}

	j.naive(t, truth, cuts[0])
	w.forged(t, cuts[now-1], cuts[now])
}

// TestForgotten cuts while a transaction is prepared since before the log is known: the cut is ordered, and says
// why, and what is prepared is left. When it is gone there are proven ones again.
func TestForgotten(t *testing.T) {
	w := newWorld(t, "BEGIN; INSERT INTO moments VALUES (0); "+tag("f", 2)+"; PREPARE TRANSACTION 'forgotten'", "SELECT pg_switch_wal()", "CHECKPOINT", "SELECT pg_switch_wal()", "CHECKPOINT")
	finder := moment.New(w.v(), openers())
	conns := []*pgx.Conn{w.connect(t, w.pg[0]), w.connect(t, w.pg[1])}

	n := 0

	find := func() (*moment.Found, error) {
		req := w.request()
		from := w.observer.Now()

		for range 30 {
			for _, c := range conns {
				n++
				do(t, c, "BEGIN; INSERT INTO moments VALUES (1); "+tag(fmt.Sprint("g", n), 1)+"; COMMIT")
			}

			time.Sleep(10 * time.Millisecond)
		}

		req.Wish = moment.Wish{Observer: w.observer.Name(), Span: proof.Span{From: from, To: w.observer.Now()}}
		w.settle(t)

		found, err := finder.Find(t.Context(), req)
		if err != nil {
			return nil, err
		}

		w.keep(t, found)

		return found, nil
	}
	cut := func() *moment.Found {
		for try := 0; ; try++ {
			found, err := find()
			if err == nil {
				return found
			}

			if try == 20 { // on a slow machine there may be no place for a cut
				t.Fatal(err)
			}
		}
	}
	cut()
	time.Sleep(2 * limit)

	f := cut()
	if f.Proof.Grade != proof.Ordered || len(f.Proof.InDoubt) != 0 || !slices.ContainsFunc(f.Obstacles, func(o moment.Obstacle) bool { return strings.Contains(o.Cause, "not known") }) {
		t.Errorf("%+v %+v", f.Proof, f.Obstacles)
	}

	do(t, conns[0], "COMMIT PREPARED 'forgotten'")
	do(t, conns[0], "CHECKPOINT")
	time.Sleep(2 * limit)

	if f := cut(); f.Proof.Grade != proof.Proven {
		t.Errorf("%+v %+v", f.Proof, f.Obstacles)
	}
}

// cost demands that of a log that was read before only what is new is read.
func (w *world) cost(t *testing.T, f *moment.Found, before, read map[targets.ShardID]uint64) map[targets.ShardID]uint64 {
	t.Helper()
	ends := map[targets.ShardID]uint64{}

	for _, l := range f.Logs() {
		ends[l.Shard] = l.To

		if before == nil {
			continue
		}

		if grew := l.To - before[l.Shard]; read[l.Shard] != grew {
			t.Errorf("%s: %d bytes are new, and %d were read", l.Shard, grew, read[l.Shard])
		}
	}

	return ends
}

// naive shows that the judge sees something.
func (j *journal) naive(t *testing.T, truth *judge, k kept) {
	t.Helper()
	cut := k.cut
	cut.Shards = append([]targets.ShardPoint{}, cut.Shards...)

	for i := range cut.Shards {
		if cut.Shards[i].Shard == j.w.pg[0].Shard {
			cut.Shards[i].Position.Offset += 200_000
		}
	}

	if len(truth.wrong(&cut, k.Proof.T)) == 0 {
		t.Error("a cut of which one shard is later is not wrong: the judge sees nothing")
	}
}
