package targettest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

func (b *bench) must(t testing.TB, err error) {
	t.Helper()

	if b.err(err) != nil {
		t.Fatal(err)
	}
}

// want checks the code of an error, and that it names the instance or its directory.
func (b *bench) want(t testing.TB, what string, err error, in targets.Instance, codes ...fail.Code) {
	t.Helper()

	var fe *fail.Error
	if !errors.As(b.err(err), &fe) || !slices.Contains(codes, fe.Code) {
		t.Errorf("%s: %v, want an error of code %v", what, err, codes)
		return
	}

	if said := err.Error(); !strings.Contains(said, in.Shard.String()) && (in.DataDir == "" || !strings.Contains(said, in.DataDir)) {
		t.Errorf("%s: the error names neither %s nor its directory: %v", what, in.Shard, err)
	}
}

func (b *bench) put(t testing.TB, in targets.Instance, names ...string) {
	t.Helper()

	for _, n := range names {
		b.must(t, b.Put(t, in, n))
	}
}

func (b *bench) same(t testing.TB, what string, in targets.Instance, want ...string) {
	t.Helper()

	if got := b.Names(t, in); !slices.Equal(got, want) {
		t.Errorf("%s: it holds %q, want %q", what, got, want)
	}
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()

	for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (b *bench) traits(t testing.TB) {
	tr := b.d.Kind().Traits()
	_, follower := b.d.(targets.Follower)
	_, snapshotter := b.d.(targets.Snapshotter)

	_, quiescer := b.d.(targets.Quiescer)
	if tr.Name == "" || tr.Log != follower || tr.Manifest != snapshotter || tr.Quiesce != quiescer || tr.Log == tr.Manifest {
		t.Errorf("%+v of a driver that follows %v, snapshots %v, quiesces %v", tr, follower, snapshotter, quiescer)
	}
}

func (b *bench) probe(t testing.TB) {
	in := b.Start(t)
	b.put(t, in, "a")

	for range 2 { // every call may be repeated
		st, err := b.d.Probe(background(t), in)
		b.must(t, err)

		if !st.Reachable || !st.Writable || st.Bytes == 0 || st.Version == "" {
			t.Errorf("probe: %+v", st)
		}
		st, err = b.d.Reach(background(t), in)
		b.must(t, err)

		if !st.Reachable || !st.Writable {
			t.Errorf("reach sees less than a probe: %+v", st)
		}
	}

	denied := in
	denied.Password = targets.NewSecret(wrongSecret)
	away := in

	away.Address = b.nobody(t, in.Address)
	for _, call := range []func(context.Context, targets.Instance) (targets.Status, error){b.d.Probe, b.d.Reach} {
		_, err := call(background(t), denied)
		b.want(t, "a wrong password", err, in, fail.Denied)
		_, err = call(background(t), away)
		b.want(t, "no server", err, in, fail.Unavailable)
	}
}

// nobody is an address where nothing listens, in the form of the other.
func (b *bench) nobody(t testing.TB, like string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	b.must(t, err)

	defer l.Close()

	if strings.Contains(like, "://") {
		return "http://" + l.Addr().String()
	}

	return l.Addr().String()
}

// follow runs Follow until stop is called, which returns its error.
func (b *bench) follow(t testing.TB, in targets.Instance, a targets.Archive) (stop func() error, ended <-chan struct{}) {
	ctx, cancel := context.WithCancel(background(t))
	done := make(chan struct{})

	var err error
	go func() {
		defer close(done)
		err = b.d.(targets.Follower).Follow(ctx, in, a)
	}()
	stop = func() error { cancel(); <-done; return b.err(err) }
	t.Cleanup(func() { _ = stop() })

	return stop, done
}

// position is where the server's log stands.
func (b *bench) position(t testing.TB, in targets.Instance) targets.Position {
	t.Helper()
	st, err := b.d.Reach(background(t), in)
	b.must(t, err)

	return st.Position
}

// reached waits until the archive holds the log up to the place.
func (b *bench) reached(t testing.TB, m *Memory, at targets.Position) {
	t.Helper()
	waitFor(t, fmt.Sprintf("the archive to reach %d", at.Offset), func() bool {
		tail, ok := m.Tail()
		return ok && tail.Timeline == at.Timeline && tail.Offset >= at.Offset
	})
}

// mark takes a point as a cut does.
func (b *bench) mark(t testing.TB, in targets.Instance) targets.Position {
	t.Helper()

	for try := 0; ; try++ {
		m := b.join(t, in, long)
		at, err := b.pass(background(t), m)
		m.Close()

		if err == nil {
			return at
		}

		if try == 60 || !fail.Is(err, fail.Stalled) {
			b.must(t, err)
		}
	}
}

// long is a lease that ends in no test.
const long = 5 * time.Minute

func (b *bench) join(t testing.TB, in targets.Instance, lease time.Duration) targets.Member {
	t.Helper()
	m, err := b.d.(targets.Quiescer).Join(background(t), in, targets.JoinRequest{CutID: "20260101T000000.000Z-0001", Group: "shop",
		Lease: lease, Budget: time.Minute, Gate: b.d.Kind().Traits().Gate})
	b.must(t, err)

	return m
}

// pass takes a member through a whole barrier.
func (b *bench) pass(ctx context.Context, m targets.Member) (at targets.Position, err error) {
	if b.d.Kind().Traits().Gate {
		err = m.LockGate(ctx, time.Minute)
	}

	if err == nil {
		err = m.Lock(ctx, time.Minute)
	}

	if err == nil {
		at, err = m.Mark(ctx)
	}

	for range 2 { // it may be repeated
		err = errors.Join(err, m.Release(ctx))
	}

	if err == nil {
		err = m.Settle(ctx)
	}

	return at, err
}

// kept is a store of which a point is kept, with what it held there.
type kept struct {
	in  targets.Instance
	m   *Memory
	req targets.RestoreRequest
}

// keep writes a and b, takes a point, writes c, and keeps all that leads to the point.
func (b *bench) keep(t testing.TB) kept {
	t.Helper()

	k := kept{in: b.Start(t), m: NewMemory(t, b.d.Kind())}
	if !b.d.Kind().Traits().Log {
		b.put(t, k.in, "a", "b")
		time.Sleep(b.Apart)
		at := b.mark(t, k.in)
		time.Sleep(b.Apart)
		b.put(t, k.in, "c")
		p, _, err := b.d.(targets.Snapshotter).Snapshot(background(t), k.in, at.AsOf, k.m, nil)
		b.must(t, err)
		k.req.Point = p

		return k
	}

	stop, _ := b.follow(t, k.in, k.m)
	waitFor(t, "the log to begin", func() bool { _, ok := k.m.Tail(); return ok })
	b.put(t, k.in, "a")
	base, err := b.d.Base(background(t), k.in, targets.BaseRequest{ID: "20260101T000000.000Z-0002"}, k.m)
	b.must(t, err)
	b.put(t, k.in, "b")
	at := b.mark(t, k.in)
	b.put(t, k.in, "c")
	b.reached(t, k.m, at)

	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("follow ended with %v", err)
	}
	k.req = request(base, at)

	return k
}

func request(base targets.Artifact, at targets.Position) targets.RestoreRequest {
	return targets.RestoreRequest{Base: base, Point: at, Path: []targets.Span{{Timeline: at.Timeline, From: base.From.Offset, To: at.Offset}}}
}

// into restores and returns the instance as it can be reached.
func (b *bench) into(ctx context.Context, t testing.TB, in targets.Instance, req targets.RestoreRequest, from targets.Source) (targets.Instance, targets.Outcome, error) {
	if req.WorkDir = ""; in.DataDir != "" {
		req.WorkDir = in.DataDir + ".work"
	}

	out, err := b.d.Restore(ctx, in, req, from)
	if err == nil && out.Pid != 0 {
		t.Cleanup(func() { b.Stop(t, out.Pid) })
	}

	if out.Address != "" {
		in.Address = out.Address
	}

	if out.User != "" {
		in.User, in.Password = out.User, out.Password
	}

	if out.Database != "" {
		in.Database = out.Database
	}

	return in, out, b.err(err)
}

func (b *bench) restore(t testing.TB) {
	k := b.keep(t)
	in, out, err := b.into(background(t), t, b.Empty(t), k.req, k.m)
	b.must(t, err)

	if out.Reached.Offset != k.req.Point.Offset || out.Reached.Timeline != k.req.Point.Timeline || out.Reached.Manifest != k.req.Point.Manifest {
		t.Errorf("reached %+v, want %+v", out.Reached, k.req.Point)
	}

	b.same(t, "the restored store", in, "a", "b")
	b.same(t, "the original", k.in, "a", "b", "c")
}

// A server that runs and holds something is refused and keeps it.
func (b *bench) restoreRefuses(t testing.TB) {
	k := b.keep(t)
	busy := b.Start(t)
	b.put(t, busy, "x")

	if busy.DataDir == "" && b.d.Kind().Traits().Files {
		busy.DataDir = b.Empty(t).DataDir
	}
	_, _, err := b.into(background(t), t, busy, k.req, k.m)
	b.want(t, "a running server", err, busy, fail.Conflict)
	b.same(t, "what was there", busy, "x")

	if !b.d.Kind().Traits().Files {
		return
	}

	in := b.Empty(t)
	stray := filepath.Join(in.DataDir, "stray")
	b.must(t, errors.Join(os.MkdirAll(in.DataDir, 0o755), os.WriteFile(stray, []byte("mine"), 0o644)))
	_, _, err = b.into(background(t), t, in, k.req, k.m)
	b.want(t, "a directory that is not empty", err, in, fail.Conflict)
	es, err := os.ReadDir(in.DataDir)
	b.must(t, err)

	if c, err := os.ReadFile(stray); err != nil || string(c) != "mine" || len(es) != 1 {
		t.Errorf("the directory was touched: %v %q %v", es, c, err)
	}
}

// Whatever a source does not give, a restore ends in an error; and once it gives
// all, the same restore succeeds.
func (b *bench) restoreFaults(t testing.TB) {
	k := b.keep(t)

	seen := &Faulty{Source: k.m}
	if _, _, err := b.into(background(t), t, b.Empty(t), k.req, seen); err != nil {
		t.Fatal(err)
	}

	for call, fs := range faults {
		if seen.Seen(call) == 0 {
			continue
		}

		in := b.Empty(t)
		for _, f := range fs {
			ctx, cancel := context.WithCancel(background(t))
			src := &Faulty{Source: k.m, Call: call, Fault: f, Cancel: cancel}

			at := in
			if f == Flipped { // what a server refused to load may be left to be looked at
				at = b.Empty(t)
			}
			_, out, err := b.into(ctx, t, at, k.req, src)

			cancel()

			if err == nil {
				t.Errorf("%s %s: the restore claims success", call, f)
				b.Stop(t, out.Pid)
				in = b.Empty(t)
			}
		}

		at, _, err := b.into(background(t), t, in, k.req, k.m)
		if err != nil {
			t.Errorf("%s: the same restore does not succeed once all is there: %v", call, err)
			continue
		}

		b.same(t, "restored at last after faults of "+call, at, "a", "b")
	}
}

// A base that the sink does not take has no record.
func (b *bench) baseFails(t testing.TB) {
	in, m := b.Start(t), NewMemory(t, b.d.Kind())
	b.follow(t, in, m)
	waitFor(t, "the log to begin", func() bool { _, ok := m.Tail(); return ok })

	if a, err := b.d.Base(background(t), in, targets.BaseRequest{ID: "20260101T000000.000Z-0003"}, failingBase{m}); b.err(err) == nil {
		t.Errorf("a base that nobody stored has the record %+v", a)
	}
	_, err := b.d.Base(background(t), in, targets.BaseRequest{ID: "20260101T000000.000Z-0004"}, m)
	b.must(t, err)
}

func (b *bench) followResumes(t testing.TB) {
	in, m := b.Start(t), NewMemory(t, b.d.Kind())
	stop, _ := b.follow(t, in, m)
	waitFor(t, "the log to begin", func() bool { _, ok := m.Tail(); return ok })
	base, err := b.d.Base(background(t), in, targets.BaseRequest{ID: "20260101T000000.000Z-0005"}, m)
	b.must(t, err)
	b.put(t, in, "a")
	b.reached(t, m, b.position(t, in))
	_ = stop()

	// While nobody follows, and while the archive refuses.
	b.put(t, in, "b")
	m.FailWrites(errCutOff)
	_, ended := b.follow(t, in, m)
	b.put(t, in, "c")

	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		t.Fatal("follow goes on though its archive refuses to write")
	}

	m.FailWrites(nil)
	stop, _ = b.follow(t, in, m)
	b.put(t, in, "d")
	at := b.mark(t, in)
	b.reached(t, m, at)
	_ = stop()

	got, _, err := b.into(background(t), t, b.Empty(t), request(base, at), m)
	b.must(t, err)
	b.same(t, "restored from a log in pieces", got, "a", "b", "c", "d")
}

func (b *bench) followAcknowledges(t testing.TB) {
	in, m := b.Start(t), NewMemory(t, b.d.Kind())
	b.follow(t, in, m)
	waitFor(t, "the log to begin", func() bool { _, ok := m.Tail(); return ok })
	m.Hold()

	durable := max(m.Durable(), b.Acknowledged(t, in)) // a server may begin with a place of its own
	for i := range 12 {
		b.put(t, in, fmt.Sprintf("n%02d", i))

		if b.Turn != nil && i%4 == 1 {
			b.Turn(t, in)
		}

		b.reached(t, m, b.position(t, in))
		m.Nudge() // a follower that counts on more than Durable says so now
		time.Sleep(150 * time.Millisecond)

		if ack := b.Acknowledged(t, in); ack > durable {
			t.Fatalf("acknowledged %d, durable %d", ack, durable)
		}
	}

	if b.broken { // however late it acknowledges
		waitFor(t, "what is wrong with it", func() bool { return b.Acknowledged(t, in) > durable })
		t.Fatalf("acknowledged more than %d", durable)
	}
}

func (b *bench) followEnds(t testing.TB) {
	in, m := b.Start(t), NewMemory(t, b.d.Kind())
	stop, ended := b.follow(t, in, m)
	waitFor(t, "the log to begin", func() bool { _, ok := m.Tail(); return ok })
	gone := errors.New("the vaults are away")
	m.GiveUp(gone)

	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		t.Fatal("follow goes on though its archive has given up")
	}

	if err := stop(); !errors.Is(err, gone) {
		t.Errorf("follow ended with %v", err)
	}
}

func (b *bench) member(t testing.TB) {
	in := b.Start(t)
	b.put(t, in, "a")
	bad := in
	bad.Password = targets.NewSecret(wrongSecret)
	_, err := b.d.(targets.Quiescer).Join(background(t), bad, targets.JoinRequest{CutID: "x", Group: "shop", Lease: long, Budget: time.Minute})
	b.want(t, "join with a wrong password", err, in, fail.Denied)

	if b.d.Kind().Traits().Log { // a log may have to be followed before places in it have numbers
		a := NewMemory(t, b.d.Kind())
		b.follow(t, in, a)
		waitFor(t, "the log to begin", func() bool { _, ok := a.Tail(); return ok })
		b.put(t, in, "more")
	}
	m := b.join(t, in, long)
	at, err := b.pass(background(t), m)
	b.must(t, err)

	if at.Kind != b.d.Kind() || at.Offset == 0 && at.AsOf.IsZero() {
		t.Errorf("marked %+v", at)
	}

	m.Close()

	if b.d.Kind().Traits().Locks { // elsewhere a mark needs no session
		if err := m.Settle(background(t)); b.err(err) == nil {
			t.Error("a mark is settled though its session is gone")
		}
	}

	b.put(t, in, "b") // nothing is locked any more
}

// A writer waits while the member holds its lock, and no longer than the
// member or its lease lives.
func (b *bench) lockEnds(t testing.TB) {
	in := b.Start(t)
	b.put(t, in, "a")

	for _, end := range []string{"release", "close", "silence"} {
		lease, most := long, 300*time.Millisecond
		if end == "silence" {
			lease = 3 * time.Second
		}

		if b.broken { // however late the write comes
			most = time.Minute
		}
		m, began := b.locked(t, in, lease)

		done := make(chan error, 1)
		go func() { done <- b.Put(t, in, end) }()
		_, err := m.Mark(background(t))

		if time.Since(began) < lease {
			b.must(t, err)
		}

		select {
		case err := <-done:
			if time.Since(began) < lease {
				t.Errorf("%s: a write got through a lock", end)
			}

			done <- err
		case <-time.After(most):
		}

		switch end {
		case "release":
			b.must(t, m.Release(background(t)))
		case "close":
			m.Close()
		}

		select {
		case err := <-done:
			b.must(t, err)
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s: a write waits for a lock that nobody may hold", end)
		}

		m.Close()
	}
}

// locked is a member that holds its lock, and when it was asked to: on a slow machine
// that may take longer than the lease.
func (b *bench) locked(t testing.TB, in targets.Instance, lease time.Duration) (targets.Member, time.Time) {
	t.Helper()

	for {
		m, began := b.join(t, in, lease), time.Now()

		err := m.Lock(background(t), time.Minute)
		if err == nil {
			return m, began
		}

		m.Close()

		if time.Since(began) < lease {
			b.must(t, err)
		}
	}
}

func (b *bench) snapshotFails(t testing.TB) {
	in, m := b.Start(t), NewMemory(t, b.d.Kind())
	b.put(t, in, "a", "b", "c")

	p, _, err := b.d.(targets.Snapshotter).Snapshot(background(t), in, time.Now(), &failingSink{ObjectSink: m, left: 1}, nil)
	if b.err(err) == nil || len(m.Manifests()) > 0 {
		t.Errorf("a snapshot without an object: %+v %v, manifests %v", p, err, m.Manifests())
	}
}

func (b *bench) verify(t testing.TB) {
	k := b.keep(t)
	in, _, err := b.into(background(t), t, b.Empty(t), k.req, k.m)
	b.must(t, err)

	want := targets.Expectation{DataDir: in.DataDir}
	if m := k.req.Point.Manifest; m != "" {
		want.Manifest = func(ctx context.Context) (io.ReadCloser, error) { return k.m.Manifest(ctx, m) }
	}

	failed := func() (out []targets.Finding) {
		fs, err := b.d.Verify(background(t), in, want)
		b.must(t, err)

		return slices.DeleteFunc(fs, func(f targets.Finding) bool { return f.Severity != targets.Failed })
	}
	if fs := failed(); len(fs) > 0 {
		t.Fatalf("a whole store fails: %+v", fs)
	}

	b.Damage(t, in)

	if len(failed()) == 0 {
		t.Error("planted damage is not found")
	}
}
