package delay_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"drctl/internal/lab/delay"
)

// What goes through it is whole and late, and a line carries many parts at once.
func TestDelay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	go func() { // echoes until its client has said all
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}

			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()

	const far = 60 * time.Millisecond

	p, err := delay.Listen("127.0.0.1:0", l.Addr().String(), far)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()

	c, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	begin := time.Now()

	go func() {
		_, _ = c.Write(want)
		_ = c.(*net.TCPConn).CloseWrite()
	}()

	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil {
		t.Fatal(err)
	}

	if took := time.Since(begin); took < far {
		t.Errorf("a round trip took %s, which is less than %s", took, far)
	}

	rest, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(append(first, rest...), want) {
		t.Errorf("%d bytes came back, want %d: %v", 1+len(rest), len(want), err)
	}

	open, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}

	p.Close()

	if _, err := open.Read(first); err == nil {
		t.Error("a connection outlived its proxy")
	}

	if _, err := delay.Listen("127.0.0.1:0:0", "", far); err == nil {
		t.Error("listens on what is no address")
	}
}

// TestCut: over a line that is cut nothing is heard, not even an end, and what was sent comes
// once it is mended.
func TestCut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}

			go func() { _, _ = io.Copy(c, c) }()
		}
	}()

	p, err := delay.Listen("127.0.0.1:0", l.Addr().String(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()

	before, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}

	one := make([]byte, 1)
	if _, err := before.Write(one); err != nil {
		t.Fatal(err)
	}

	if _, err := io.ReadFull(before, one); err != nil {
		t.Fatal(err)
	}

	p.Cut()
	p.Cut() // again is nothing

	during, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}

	for _, c := range []net.Conn{before, during} {
		if _, err := c.Write(one); err != nil {
			t.Fatal(err)
		}

		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))

		if _, err := c.Read(one); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("something is heard over a line that is cut: %v", err)
		}
	}

	p.Mend()

	for _, c := range []net.Conn{before, during} {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))

		if _, err := io.ReadFull(c, one); err != nil {
			t.Errorf("what was sent over a line that was cut does not come: %v", err)
		}
	}

	p.Cut() // and Close ends it
}
