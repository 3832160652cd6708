package postgres_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
)

func TestBarrierEndsWithItsLease(t *testing.T) {
	t.Parallel()
	d, in, _ := quiesced(t)
	link := newLink(t, in.Address, false)
	cut := in
	cut.Address = link.address()
	req := request("20260101T000000.000Z-0005")
	req.Lease = time.Second
	m := join(t, d, cut, req)

	ctx := context.Background()
	if err := m.LockGate(ctx, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}

	if err := m.Lock(ctx, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	// The network goes silent: the server hears nothing, not even a reset.
	link.freeze()

	start := time.Now()
	if !writes(t, in, 5*time.Second) {
		t.Fatal("the barrier outlived its lease")
	}

	if took := time.Since(start); took > 4*time.Second {
		t.Fatalf("writers waited for %s, the lease was 1s", took)
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
	d, in, _ := quiesced(t)
	link := newLink(t, in.Address, false)
	cut := in
	cut.Address = link.address()
	req := request("20260101T000000.000Z-0006")
	req.Lease = 30 * time.Second

	m := join(t, d, cut, req)
	if err := m.Lock(context.Background(), 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}

	link.reset() // the coordinator's process died: the kernel closes its sockets

	if !writes(t, in, 2*time.Second) {
		t.Fatal("writers still wait")
	}
	// While the server waits for a lock it looks after the client too.
	holder := open(t, in)
	link2 := newLink(t, in.Address, false)
	cut.Address = link2.address()
	m = join(t, d, cut, request("20260101T000000.000Z-0007"))
	run(t, holder, "BEGIN")
	run(t, holder, "UPDATE account SET balance = 1 WHERE id = 9")

	done := make(chan error, 1)
	go func() { done <- m.Lock(context.Background(), 900*time.Millisecond) }()

	time.Sleep(100 * time.Millisecond)
	link2.reset()

	if err := <-done; err == nil {
		t.Fatal("the lock was reported as held")
	}

	if !writes(t, in, 2*time.Second) {
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

	wantCode(t, m.Lock(ctx, 900*time.Millisecond), fail.Stalled)

	if err := m.Release(context.Background()); err == nil {
		t.Fatal("the release reported success on a dropped connection")
	}

	if !writes(t, in, time.Second) {
		t.Fatal("writers still wait")
	}
}

func TestJoinRefusesStandbyAndPooler(t *testing.T) {
	t.Parallel()
	d, in, _ := quiesced(t)
	standby := sandboxtest.Standby(t, in, sandboxtest.PostgresOptions{})
	_, err := d.Join(ctxFor(t, 10*time.Second), standby, request("20260101T000000.000Z-0009"))
	wantCode(t, err, fail.Conflict, "standby")
	pool := newLink(t, in.Address, true)
	pooled := in
	pooled.Address = pool.address()
	_, err = d.Join(ctxFor(t, 10*time.Second), pooled, request("20260101T000000.000Z-0010"))
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
