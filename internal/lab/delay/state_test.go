package delay_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"drctl/internal/lab/delay"
)

// pair is a connection over a line, with both its ends.
type pair struct {
	*testing.T
	line           *delay.Proxy
	client, server net.Conn
	l              net.Listener
}

func newPair(t *testing.T) *pair {
	t.Helper()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	line, err := delay.Listen("127.0.0.1:0", l.Addr().String(), 0)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { line.Close(); _ = l.Close() })

	p := &pair{T: t, line: line, l: l}
	p.connect()

	return p
}

func (p *pair) connect() {
	p.Helper()

	var err error
	if p.client, err = net.Dial("tcp", p.line.Address()); err != nil {
		p.Fatal(err)
	}

	if p.server, err = p.l.Accept(); err != nil {
		p.Fatal(err)
	}

	p.Cleanup(func() { _ = p.client.Close(); _ = p.server.Close() })
}

func (p *pair) says(from net.Conn, text string) {
	p.Helper()

	if _, err := from.Write([]byte(text)); err != nil {
		p.Fatal(err)
	}
}

func (p *pair) hears(at net.Conn, text string) {
	p.Helper()

	b := make([]byte, len(text))
	_ = at.SetReadDeadline(time.Now().Add(time.Minute))

	if _, err := io.ReadFull(at, b); err != nil || string(b) != text {
		p.Errorf("%q came, want %q: %v", b, text, err)
	}
}

func (p *pair) hearsNothing(at net.Conn) {
	p.Helper()

	_ = at.SetReadDeadline(time.Now().Add(50 * time.Millisecond))

	if _, err := at.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		p.Errorf("something is heard over a way that is cut: %v", err)
	}
}

// TestCutOneWay: what goes one way is kept back, and the end too, what goes the other way comes, and nobody connects.
func TestCutOneWay(t *testing.T) {
	for _, x := range []struct {
		name string
		cut  delay.State
		deaf func(*pair) (deaf, other net.Conn)
	}{
		{"to the server", delay.State{CutToServer: true}, func(p *pair) (net.Conn, net.Conn) { return p.server, p.client }},
		{"to the client", delay.State{CutToClient: true}, func(p *pair) (net.Conn, net.Conn) { return p.client, p.server }},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := newPair(t)
			p.says(p.client, "a")
			p.hears(p.server, "a")
			p.says(p.server, "b")
			p.hears(p.client, "b")

			deaf, other := x.deaf(p)

			p.line.Set(x.cut)
			p.line.Set(x.cut) // again is nothing

			p.says(other, "lost for now")
			p.says(deaf, "comes")
			p.hears(other, "comes")

			_ = other.(*net.TCPConn).CloseWrite()

			p.hearsNothing(deaf)

			second, err := net.Dial("tcp", p.line.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer second.Close()

			_ = p.l.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond))

			if _, err := p.l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a connection is made over a line that is cut one way: %v", err)
			}

			p.line.Set(delay.State{})
			p.hears(deaf, "lost for now")

			if _, err := deaf.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the end does not come: %v", err)
			}
		})
	}
}

// TestSlowAtOnce: a line gets longer under a connection, and short again.
func TestSlowAtOnce(t *testing.T) {
	const far = 60 * time.Millisecond

	p := newPair(t)
	p.line.Set(delay.State{RoundTrip: far})

	begin := time.Now()

	p.says(p.client, "a")
	p.hears(p.server, "a")
	p.says(p.server, "b")
	p.hears(p.client, "b")

	if took := time.Since(begin); took < far {
		t.Errorf("a round trip took %s, which is less than %s", took, far)
	}

	p.line.Set(delay.State{})
	p.says(p.client, "c")
	p.hears(p.server, "c")
}

// TestLossy: over a line that loses everything a connection is reset on both sides, and over one that loses a part what
// comes is whole and in order.
func TestLossy(t *testing.T) {
	p := newPair(t)
	p.line.Set(delay.State{Loss: 1})
	p.says(p.client, "never")

	for _, c := range []net.Conn{p.client, p.server} {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))

		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%d bytes, %v; want a reset", n, err)
		}
	}

	p.line.Set(delay.State{})
	p.connect()
	p.line.Set(delay.State{Loss: 0.05})

	want := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)

	go func() {
		_, _ = p.client.Write(want)
		_ = p.client.(*net.TCPConn).CloseWrite()
	}()

	_ = p.server.SetReadDeadline(time.Now().Add(time.Minute))

	got, err := io.ReadAll(p.server)
	if !bytes.HasPrefix(want, got) || err == nil && len(got) != len(want) || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes came of %d: %v", len(got), len(want), err)
	}
}

// TestCloseWhileItWaits: a proxy ends whatever its line does.
func TestCloseWhileItWaits(t *testing.T) {
	for _, s := range []delay.State{{CutToServer: true}, {RoundTrip: time.Hour}, {Loss: 1}} {
		p := newPair(t)
		p.line.Set(s)
		p.says(p.client, "a")

		second, err := net.Dial("tcp", p.line.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()

		p.line.Close()
	}
}
