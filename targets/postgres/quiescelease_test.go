package postgres_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

func TestBarrierEndsWithItsLease(t *testing.T) {
	t.Parallel()
	d, in, _ := quiesced(t)
	link := newLink(t, in.Address, false)
	cut := in
	cut.Address = link.address()
	req := request("20260101T000000.000Z-0005")
	req.Lease = 2 * time.Second
	ctx := context.Background()

	var m targets.Member
	for try := 0; ; try++ { // a slow machine may need longer than the lease
		m = join(t, d, cut, req)

		err := m.LockGate(ctx, time.Minute)
		if err == nil {
			err = m.Lock(ctx, time.Minute)
		}

		if err == nil {
			break
		}

		if try == 20 {
			t.Fatal(err)
		}

		m.Close()
	}
	// The network goes silent: the server hears nothing, not even a reset.
	link.freeze()

	// Nothing else ends it: its sockets stay open.
	if !writes(t, in, time.Minute) {
		t.Fatal("the barrier outlived its lease")
	}

	rctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()

	if err := m.Release(rctx); err == nil {
		t.Fatal("the release of a lost barrier reported success")
	}

	if !gateFree(t, in) {
		t.Fatal("the gate is still held")
	}
}

func TestBarrierCoordinatorGone(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	link := newLink(t, in.Address, false)
	cut := in
	cut.Address = link.address()
	req := request("20260101T000000.000Z-0006")

	m := join(t, d, cut, req) // for a lease of minutes
	if err := m.Lock(context.Background(), time.Minute); err != nil {
		t.Fatal(err)
	}

	link.reset() // the coordinator's process died: the kernel closes its sockets

	if !writes(t, in, time.Minute) {
		t.Fatal("writers still wait")
	}
	// While the server waits for a lock it looks after the client too.
	holder := open(t, in)
	link2 := newLink(t, in.Address, false)
	cut.Address = link2.address()
	req.CutID, req.Lease = "20260101T000000.000Z-0007", 2*time.Second // it looks twice in a lease
	m = join(t, d, cut, req)
	run(t, holder, "BEGIN")
	run(t, holder, "UPDATE account SET balance = 1 WHERE id = 9")

	done := make(chan error, 1)
	go func() { done <- m.Lock(context.Background(), 4*time.Minute) }()

	waitFor(t, "the lock to wait, or its lease to end", func() bool {
		return len(done) > 0 || value[bool](t, c, "SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'ShareLock' AND NOT granted)")
	})
	link2.reset()

	if err := <-done; err == nil {
		t.Fatal("the lock was reported as held")
	}

	if !writes(t, in, time.Minute) {
		t.Fatal("writers queue behind a lock that nobody waits for")
	}
}

func TestBarrierContextEnds(t *testing.T) {
	t.Parallel()
	d, in, _ := quiesced(t)
	m := join(t, d, in, request("20260101T000000.000Z-0008"))
	holder := open(t, in)
	run(t, holder, "BEGIN")
	run(t, holder, "UPDATE account SET balance = 1 WHERE id = 9")

	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()

	wantCode(t, m.Lock(ctx, time.Minute), fail.Stalled)

	if err := m.Release(context.Background()); err == nil {
		t.Fatal("the release reported success on a dropped connection")
	}

	if !writes(t, in, time.Minute) {
		t.Fatal("writers still wait")
	}
}

func TestJoinRefusesStandbyAndPooler(t *testing.T) {
	t.Parallel()
	d, in, _ := quiesced(t)
	standby := sandboxtest.Standby(t, in, sandboxtest.PostgresOptions{})
	_, err := d.Join(ctxFor(t, 2*time.Minute), standby, request("20260101T000000.000Z-0009"))
	wantCode(t, err, fail.Conflict, "standby")
	pool := newLink(t, in.Address, true)
	pooled := in
	pooled.Address = pool.address()
	_, err = d.Join(ctxFor(t, 2*time.Minute), pooled, request("20260101T000000.000Z-0010"))
	wantCode(t, err, fail.Invalid, "pooler")
}

// link is a TCP relay that can be cut.
type link struct {
	l             net.Listener
	to            string
	pretendPooler bool
	frozen, cut   chan struct{}
}

func newLink(t *testing.T, to string, pretendPooler bool) *link {
	t.Helper()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{l: l, to: to, pretendPooler: pretendPooler, frozen: make(chan struct{}), cut: make(chan struct{})}
	t.Cleanup(func() { _ = l.Close(); k.reset() })

	go func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}

			b, err := net.Dial("tcp", to)
			if err != nil {
				_ = a.Close()
				return
			}

			go k.pipe(a, b, false)
			go k.pipe(b, a, k.pretendPooler)
			go func() { <-k.cut; _ = a.Close(); _ = b.Close() }()
		}
	}()

	return k
}

func (k *link) address() string { return k.l.Addr().String() }
func (k *link) freeze()         { close(k.frozen) }

func (k *link) reset() {
	select {
	case <-k.cut:
	default:
		close(k.cut)
	}
}

// pipe relays; as a pooler it invents the key of the session, as PgBouncer does.
func (k *link) pipe(from, to net.Conn, forge bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)

		select {
		case <-k.frozen:
			return // the bytes vanish, the sockets stay open
		default:
		}

		if err != nil {
			_ = to.Close()
			return
		}

		if forge {
			if i := strings.Index(string(buf[:n]), "K\x00\x00\x00\x0c"); i >= 0 {
				buf[i+8] ^= 0x55
			}
		}

		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
