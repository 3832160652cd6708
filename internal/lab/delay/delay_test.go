package delay_test

import (
	"bytes"
	"io"
	"net"
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
