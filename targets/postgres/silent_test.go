package postgres

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// A server behind a line that is cut takes connections and says nothing. Whoever asks it with a limit is told so when that is over, and
// nobody asks it anything more: who looks at a region would be late with what it saw.
func TestASilentServerIsAskedOnce(t *testing.T) {
	t.Parallel()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	var asked atomic.Int32

	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()

			asked.Add(1)
		}
	}()

	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()

	in := targets.Instance{Kind: targets.Postgres, Address: l.Addr().String(), User: "drctl", Database: "shop"}
	if _, err := connect(ctx, "probe", in); !fail.Is(err, fail.Unavailable) {
		t.Errorf("a server that says nothing: %v", err)
	}

	if n := asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
}
