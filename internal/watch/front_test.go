package watch

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"drctl/targets"
)

// front stands before a server, and can cut connections off or fall silent in the middle
// of an answer.
type front struct {
	net.Listener
	to     string
	silent atomic.Bool
	cut    atomic.Int64 // bytes after which answers end; 0 is never
}

func newFront(t *testing.T, in targets.Instance) (*front, targets.Instance) {
	t.Helper()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = l.Close() })
	f := &front{Listener: l, to: in.Address}

	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}

			go f.serve(c)
		}
	}()

	in.Address = l.Addr().String()

	return f, in
}

func (f *front) serve(c net.Conn) {
	defer c.Close()

	s, err := net.Dial("tcp", f.to)
	if err != nil {
		return
	}
	defer s.Close()

	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				_ = s.Close()
				return
			}
			_, _ = s.Write(buf[:n])
		}
	}()

	buf := make([]byte, 4096)
	for {
		n, err := s.Read(buf)
		if err != nil {
			return
		}

		for f.silent.Load() {
			time.Sleep(10 * time.Millisecond)
		}

		if most := int(f.cut.Swap(0)); most > 0 {
			_, _ = c.Write(buf[:min(n, most)])
			return
		}

		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}
