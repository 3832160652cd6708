package shop

import (
	"context"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/lab/delay"
	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/judge"
	"drctl/internal/lab/shop/stores"
	"drctl/internal/lab/shop/transfer"
	"drctl/internal/observation"
	"drctl/internal/proof"
	"drctl/internal/proof/search"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres/observe"
	"drctl/targets/postgres/stretch"
	"drctl/targets/postgres/wal"
)

const (
	halfDone = 400 * time.Millisecond // how long a global transaction may be half done
	// within is how well an instant of the observer is known by the wall clock.
	within = 2 * time.Millisecond
)

// observed is a shop on three shards that worked under the eyes of an observer.
type observed struct {
	p       Platform
	journal string
	begun   time.Time // when the observer's clock began
	look    proof.Look
	exact   []judge.Places
	history *judge.History
	sum     Summary
}

var keepsLog = map[string]string{"wal_recycle": "off", "wal_keep_size": "4GB", "max_wal_size": "4GB", "wal_level": "logical"}

// observeShop starts one, lets it work, and reads its logs.
func observeShop(t *testing.T, operations int) *observed {
	o := &observed{p: Platform{Group: "shop"}, journal: filepath.Join(t.TempDir(), "journal")}
	for _, shard := range []string{"orders/0", "orders/1", "orders/2"} {
		o.p.Postgres = append(o.p.Postgres, sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: shard, Settings: keepsLog}))
	}

	// The last one is far away, for its customers and for the observer.
	far, err := delay.Listen("127.0.0.1:0", o.p.Postgres[2].Address, time.Duration(sandboxtest.Size(10, 40))*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(far.Close)
	o.p.Postgres[2].Address = far.Address()

	o.p.Redis = []targets.Instance{sandboxtest.Redis(t, sandboxtest.RedisOptions{})}
	sandboxtest.RedisReplica(t, o.p.Redis[0], sandboxtest.RedisOptions{}) // so that the master counts its stream

	if err := Setup(t.Context(), o.p, SetupOptions{Accounts: 200, SKUs: 200, Realistic: true}); err != nil {
		t.Fatal(err)
	}

	by := observation.NewObserver()
	now := time.Now()
	o.begun = now.Add(-time.Duration(by.At(now)))

	seen := make([][]stretch.Observation, len(o.p.Postgres))
	from := make([]wal.LSN, len(o.p.Postgres))

	var watchers sync.WaitGroup
	watching, enough := context.WithCancel(t.Context())

	for i, in := range o.p.Postgres {
		exec(t, in, "CHECKPOINT")

		session, err := observe.Open(t.Context(), dial(t, in), in.String())
		if err != nil {
			t.Fatal(err)
		}

		watchers.Go(func() {
			for watching.Err() == nil {
				one, err := session.Observe(context.Background(), by)
				if err != nil {
					t.Error(err)
					return
				}
				seen[i] = append(seen[i], stretch.Observation{Sample: one.Sample, Timeline: 1, Flush: wal.LSN(one.Flushed), Insert: wal.LSN(one.Inserted)})

				time.Sleep(5 * time.Millisecond)
			}
		})
	}

	working, done := context.WithCancel(t.Context())
	defer done()

	o.sum, err = Run(working, TrafficOptions{Platform: o.p, Rate: 300, Clients: 8, Parts: Realistic, Tag: true, Journal: o.journal,
		Saga: 200 * time.Millisecond, Death: time.Second, Progress: func(s Second) {
			if operations -= s.Ops; operations < 0 { // as long as it takes
				done()
			}
		}})

	enough()
	watchers.Wait()

	if err != nil || t.Failed() {
		t.Fatal(err)
	}

	o.look.Observer = by.Name()
	for i, in := range o.p.Postgres {
		exec(t, in, "SELECT pg_switch_wal()")
		exec(t, in, "CREATE TABLE last (n int)") // waits until the switch is written

		from[i] = seen[i][len(seen[i])/10].Flush
		o.look.Stretches = append(o.look.Stretches, readLog(t, in, from[i], seen[i]))
		o.exact = append(o.exact, dumpLog(t, in))
	}

	if o.history, err = judge.NewHistory(3, 1, journal.Read(o.journal)); err != nil {
		t.Fatal(err)
	}

	return o
}

func dial(t *testing.T, in targets.Instance) *pgx.Conn {
	t.Helper()

	conn, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, "postgres"))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = conn.Close(context.Background()) })

	return conn
}

func segments(t *testing.T, in targets.Instance) []string {
	t.Helper()

	files, err := filepath.Glob(filepath.Join(in.DataDir, "pg_wal", "????????????????????????"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log in %s: %v", in.DataDir, err)
	}

	return slices.Sorted(slices.Values(files))
}

// readLog is a shard's stretch as a prover would read it.
func readLog(t *testing.T, in targets.Instance, from wal.LSN, seen []stretch.Observation) proof.Stretch {
	t.Helper()

	var parts []io.Reader
	files := segments(t, in)

	for _, f := range files {
		file, err := os.Open(f)
		if err != nil {
			t.Fatal(err)
		}

		t.Cleanup(func() { _ = file.Close() })
		parts = append(parts, file)
	}

	name := filepath.Base(files[0])
	high, err := strconv.ParseUint(name[8:16], 16, 64)
	low, lerr := strconv.ParseUint(name[16:], 16, 64)

	if err != nil || lerr != nil {
		t.Fatal(err, lerr)
	}

	res, err := stretch.Read(stretch.Source{Shard: in.Shard, Timeline: "1", From: from, To: seen[len(seen)-1].Flush, Log: io.MultiReader(parts...), Observations: seen,
		Options: wal.Options{SegmentSize: 16 << 20, Timelines: []wal.Timeline{{ID: 1}}, Start: wal.LSN(high<<32 + low*16<<20)}})
	if err != nil || len(res.Missing) > 0 {
		t.Fatalf("%s: %v, %v is missing", in.Shard, err, res.Missing)
	}

	return res.Stretch
}

// dumpLog reads the same by a program that is nobody's here.
func dumpLog(t *testing.T, in targets.Instance) judge.Places {
	t.Helper()

	program, err := sandboxtest.Tools(t).PG("pg_waldump")
	if err != nil {
		t.Fatal(err)
	}
	files := segments(t, in)
	cmd := osexec.Command(program, "-r", "Transaction", files[0], filepath.Base(files[len(files)-1]))
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")

	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}

	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	places, err := judge.ReadWaldump(out)
	if err != nil || len(places) == 0 {
		t.Fatalf("%d transactions in the log of %s: %v", len(places), in.Shard, err)
	}
	_ = cmd.Wait() // it fails where the log ends; what it printed counts

	return places
}

func (o *observed) find(t *testing.T, look proof.Look, grades ...proof.Grade) []proof.Cut {
	t.Helper()

	res, err := search.Find(look, proof.Policy{Grades: grades, Tagged: true, TwoPhase: true, Limit: int64(halfDone), GIDs: transfer.GIDs, Pick: proof.All, Most: 3000})
	if err != nil {
		t.Fatal(err)
	}

	// Before the first answer of a shard there is nothing to compare.
	first := int64(math.MaxInt64)
	for _, op := range o.history.Operations() {
		for _, s := range op.Steps {
			if !s.Redis && s.AckNS > 0 {
				first = min(first, s.AckNS)
			}
		}
	}

	return slices.DeleteFunc(res.Cuts, func(c proof.Cut) bool { return o.begun.Add(time.Duration(c.T)-within).UnixNano() <= first })
}

// claim is what a cut says of itself, by the wall clock.
func (o *observed) claim(cut *proof.Cut) (judge.Positions, judge.Claim) {
	at := judge.Positions{Postgres: make([]uint64, len(o.p.Postgres))}
	index := func(id targets.ShardID) int {
		return slices.IndexFunc(o.p.Postgres, func(in targets.Instance) bool { return in.Shard == id })
	}

	for _, s := range cut.Shards {
		at.Postgres[index(s.Shard)] = s.Position
	}
	c := judge.Claim{Grade: judge.Grade(cut.Grade), Span: judge.At(o.begun.Add(time.Duration(cut.T)), within), Tagged: true, TwoPhase: true, Limit: halfDone,
		Actions: map[judge.Doubtful]judge.Action{}}

	for _, r := range cut.InDoubt {
		c.Actions[judge.Doubtful{Shard: index(r.Shard), GID: r.GID}] = judge.Action(r.Action)
	}

	for _, h := range cut.Broken {
		c.Broken = append(c.Broken, h.ID)
	}

	return at, c
}

// judged judges cuts, and returns how many are at fault and what for.
func (o *observed) judged(cuts []proof.Cut, exact bool, change func(*judge.Positions, *judge.Claim)) (bad int, about map[string]int, sum judge.Verdict) {
	about = map[string]int{}

	places := o.exact
	if !exact {
		places = nil
	}

	for i := range cuts {
		at, claim := o.claim(&cuts[i])
		if change != nil {
			change(&at, &claim)
		}

		v := judge.Judge(o.history, judge.ByPositions(at, places), claim)
		if !v.OK() {
			bad++
		}

		for _, f := range v.Faults {
			about[f.About]++
		}

		sum.Faults = append(sum.Faults, v.Faults...)
		sum.Steps, sum.Causes, sum.Whole, sum.Doubts, sum.Unknown = sum.Steps+v.Steps, sum.Causes+v.Causes, sum.Whole+v.Whole, sum.Doubts+v.Doubts, sum.Unknown+v.Unknown
	}

	return bad, about, sum
}

// TestProverThatCheats lets a shop work as real ones do, finds cuts in its logs, and
// has the judge pass all of them, and catch every way of cheating.
func TestProverThatCheats(t *testing.T) {
	o := observeShop(t, sandboxtest.Size(800, 6000))
	t.Logf("%+v", o.sum)

	for _, kind := range []string{journal.KindMoney, journal.KindBooking, journal.KindSaga, journal.KindChain, journal.KindLedger, journal.KindCart} {
		if o.sum.Kinds[kind] == 0 {
			t.Errorf("nobody made a %s", kind)
		}
	}

	cuts := o.find(t, o.look)
	if len(cuts) < 5 {
		t.Fatalf("%d cuts are too few", len(cuts))
	}

	for _, exact := range []bool{true, false} {
		bad, about, sum := o.judged(cuts, exact, nil)
		t.Logf("%d cuts, exact %v: %d steps, %d causes, %d global transactions, %d in doubt, %d unknown", len(cuts), exact, sum.Steps, sum.Causes, sum.Whole, sum.Doubts, sum.Unknown)

		if bad > 0 || sum.Causes == 0 || sum.Whole == 0 {
			t.Errorf("true cuts, exact %v: %d of %d are at fault: %v %+v", exact, bad, len(cuts), about, sum.Faults[:min(5, len(sum.Faults))])
		}
	}

	o.cheat(t, cuts)

	o.carts(t)
	o.recovered(t)
}

// recovered takes the servers themselves for recovered ones: they are as claimed,
// until something is changed.
func (o *observed) recovered(t *testing.T) {
	claim := judge.Claim{Grade: judge.Proven, Span: judge.At(time.Now(), 0), Tagged: true, TwoPhase: true, Limit: halfDone, Broken: o.broken()}
	look := func(claim judge.Claim) Report {
		t.Helper()

		rep, err := Check(t.Context(), CheckOptions{Journals: []string{o.journal}, Platform: o.p, Claim: &claim})
		if err != nil {
			t.Fatal(err)
		}

		return rep
	}

	if rep := look(claim); rep.Total != 0 || rep.Checked[RuleGrade] == 0 {
		t.Errorf("the servers themselves: %+v", rep)
	}

	unlisted := claim
	unlisted.Broken = nil

	if rep := look(unlisted); rep.ByRule[RuleGrade] == 0 {
		t.Errorf("half bookings that nobody lists: %+v", rep)
	}

	booking := lastOf(t, o.journal, journal.KindBooking)
	entry := lastOf(t, o.journal, journal.KindLedger)
	move := lastOf(t, o.journal, journal.KindMoney, journal.KindStock)
	shard := o.p.Postgres[booking.Shards[0]]

	if booking.Steps[0].Database != "" {
		shard = stores.Ledger(shard)
	}

	exec(t, shard, "DELETE FROM steps WHERE n = 0 AND op = '"+booking.ID+"'")
	exec(t, stores.Ledger(o.p.Postgres[entry.Shards[0]]), "INSERT INTO steps (op, n, kind) VALUES ('"+entry.ID+"', 7, 'ledger')")

	if rep := look(claim); rep.ByRule[RuleAcked] != 1 || rep.ByRule[RuleJournaled] != 1 || rep.ByRule[RuleGrade] < 2 || rep.ByRule[RuleWhole] != 0 {
		t.Errorf("half a booking and a strange row: %+v", rep)
	}

	exec(t, o.p.Postgres[move.Shards[0]], "DELETE FROM transfers WHERE leg = 0 AND id = '"+move.ID+"'")

	if rep := look(claim); rep.ByRule[RuleWhole] != 1 || rep.ByRule[RuleAcked] != 2 {
		t.Errorf("half a transfer: %+v", rep)
	}
	claim.Grade = judge.Ordered

	if rep := look(claim); rep.ByRule[RuleWhole] != 0 || rep.ByRule[RuleAcked] != 2 || rep.ByRule[RuleGrade] < 2 {
		t.Errorf("half a transfer in an ordered cut: %+v", rep)
	}
}

// carts: a place in the master's stream tells which changes of carts lie before it.
func (o *observed) carts(t *testing.T) {
	rdb, err := stores.OpenRedis(o.p.Redis[0])
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	end := stores.Offset(rdb.Info(t.Context(), "replication"))

	is := map[string]map[judge.Presence]int{}
	for name, at := range map[string]uint64{"begin": 1, "middle": end / 2, "end": end} {
		is[name] = map[judge.Presence]int{}
		state := judge.ByPositions(judge.Positions{Redis: []uint64{at}}, nil)

		for _, op := range o.history.Operations() {
			if op.Kind == journal.KindCart && op.Acked() > 0 {
				is[name][state(op, 0)]++
			}
		}
	}

	all := is["end"][judge.In]
	if all == 0 || is["begin"][judge.In] > 0 || is["begin"][judge.Out] == 0 || is["middle"][judge.In] == 0 || is["middle"][judge.Out] == 0 || len(is["end"]) != 1 {
		t.Errorf("changes of carts by their places, of a stream that ends at %d: %v", end, is)
	}
}

// broken are those whose client died.
func (o *observed) broken() (ids []string) {
	for _, op := range o.history.Operations() {
		if op.Broken {
			ids = append(ids, op.ID)
		}
	}

	return ids
}

func (o *observed) cheat(t *testing.T, cuts []proof.Cut) {
	if len(o.broken()) == 0 {
		t.Error("no client died")
	}

	for by, kind := range map[int]string{-40: judge.Missing, 40: judge.Later} {
		moved := 0

		bad, about, _ := o.judged(cuts, true, func(at *judge.Positions, _ *judge.Claim) {
			if p, ok := o.move(0, at.Postgres[0], by); ok {
				at.Postgres[0] = p
				moved++
			}
		})
		t.Logf("a position moved by %d commits: %d of %d are caught: %v", by, bad, moved, about)

		if bad < moved || moved == 0 || about[kind] == 0 {
			t.Errorf("a position moved by %d commits: %d of %d are caught, for %v", by, bad, moved, about)
		}
	}

	hidden := o.spoil(func(r *proof.Record) bool {
		r.Tags = slices.DeleteFunc(slices.Clone(r.Tags), func(tag string) bool { return tag[0] < '8' })
		return true
	})
	lost := o.spoil(func(r *proof.Record) bool { return len(r.Tags) > 0 || r.GID != "" || rand.IntN(2) == 0 })

	for name, granted := range map[string][]proof.Cut{"a hidden tag": o.find(t, hidden), "lost transactions": o.find(t, lost)} {
		bad, about, _ := o.judged(granted, true, nil)
		t.Logf("%s: %d of %d cuts are caught: %v", name, bad, len(granted), about)

		if bad == 0 {
			t.Errorf("%s: %d cuts, and none is caught", name, len(granted))
		}
	}

	ordered := o.find(t, o.look, proof.Ordered)

	if bad, about, _ := o.judged(ordered, true, nil); bad > 0 {
		t.Errorf("of %d ordered cuts %d are at fault: %v", len(ordered), bad, about)
	}

	bad, about, _ := o.judged(ordered, true, func(_ *judge.Positions, c *judge.Claim) { c.Grade = judge.Proven })
	t.Logf("ordered for proven: %d of %d are caught: %v", bad, len(ordered), about)

	if bad == 0 || about[judge.Half] == 0 {
		t.Errorf("ordered for proven: of %d cuts %d are caught: %v", len(ordered), bad, about)
	}

	bad, about, _ = o.judged(cuts, true, func(_ *judge.Positions, c *judge.Claim) { c.Broken = nil })
	if bad == 0 || about[judge.Half] == 0 {
		t.Errorf("broken ones that are not listed: %d are caught: %v", bad, about)
	}
}

// move is where a shard's log is so many commits further.
func (o *observed) move(shard int, at uint64, by int) (uint64, bool) {
	var all []uint64
	for p := range maps.Values(o.exact[shard]) {
		if p.Committed != 0 {
			all = append(all, p.Committed)
		}
	}

	slices.Sort(all)
	i, _ := slices.BinarySearch(all, at)

	if i+by < 0 || i+by >= len(all) {
		return 0, false
	}

	return all[i+by], true
}

// spoil is the look with some records changed, or lost.
func (o *observed) spoil(keep func(*proof.Record) bool) proof.Look {
	look := o.look
	look.Stretches = slices.Clone(look.Stretches)

	for i := range look.Stretches {
		s := &look.Stretches[i]

		for _, records := range []*[]proof.Record{&s.Records, &s.Earlier} {
			var out []proof.Record
			for _, r := range *records {
				if keep(&r) {
					out = append(out, r)
				}
			}
			*records = out
		}
	}

	return look
}
