package lines

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/lab/delay"
)

// A link is a place, a server, or what a place sees of a server or of another place; in is into what it names.
func TestLinks(t *testing.T) {
	l := Line{Viewer: "west", Server: "east/orders/0", Place: "east"}

	both := delay.State{CutToServer: true, CutToClient: true}
	in, out := delay.State{CutToServer: true}, delay.State{CutToClient: true}

	for _, x := range []struct {
		link, way string
		want      delay.State
	}{
		{"east", Both, both}, {"east", In, in}, {"east", Out, out},
		{"west", Both, both}, {"west", In, out}, {"west", Out, in},
		{"east/orders/0", In, in}, {"west/east/orders/0", Out, out}, {"west/east", In, in},
		{"outside", Both, delay.State{}}, {"east/west", Both, delay.State{}}, {"outside/east/orders/0", Both, delay.State{}}, {"east/orders", Both, delay.State{}},
	} {
		if got := l.under([]Fault{{Do: Cut, Link: x.link, Way: x.way}}); got != x.want {
			t.Errorf("cut %s of %s: %+v, want %+v", x.way, x.link, got, x.want)
		}

		if Means([]Line{l}, x.link) != (x.want != delay.State{}) {
			t.Errorf("%s: it is said to mean %t", x.link, Means([]Line{l}, x.link))
		}
	}

	// What is wrong with one line adds up.
	got := l.under([]Fault{{Do: Cut, Link: "east", Way: In}, {Do: Cut, Link: "west", Way: In}, {Do: Slow, Link: "east", By: 1}, {Do: Slow, Link: "west/east", By: 2},
		{Do: Lossy, Link: "east", Rate: 0.5}, {Do: Lossy, Link: "west", Rate: 0.5}})
	if want := (delay.State{CutToServer: true, CutToClient: true, RoundTrip: 3, Loss: 0.75}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// What is no fault is refused, and leaves nothing.
func TestNoFault(t *testing.T) {
	dir := t.TempDir()

	for _, f := range []Fault{{Do: Cut, Link: "east"}, {Do: Cut, Link: "east", Way: "up"}, {Do: Slow, Link: "east"}, {Do: Slow, Link: "east", By: -1}, {Do: Lossy, Link: "east"}, {Do: Lossy, Link: "east", Rate: 1.1}, {Do: "burn", Link: "east"}} {
		if err := Plant(t.Context(), dir, f); !fail.Is(err, fail.Invalid) {
			t.Errorf("%+v: %v", f, err)
		}
	}

	if es, err := os.ReadDir(dir); err != nil || len(es) != 0 {
		t.Errorf("%v %v", es, err)
	}
}

// carrying is a line that somebody carries, with the server at its end.
type carrying struct {
	*testing.T
	dir    string
	lines  []Line
	server net.Listener
}

func newCarrying(t *testing.T) *carrying {
	t.Helper()

	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = server.Close() })

	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	_, text, _ := net.SplitHostPort(free.Addr().String())
	_ = free.Close()

	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}

	return &carrying{T: t, dir: t.TempDir(), server: server, lines: []Line{{Viewer: "west", Server: "east/orders/0", Place: "east", Port: port, To: server.Addr().String()}}}
}

// carry carries the line until it is told to end.
func (c *carrying) carry() (end func()) {
	c.Helper()

	_ = os.Remove(filepath.Join(c.dir, applied)) // of a process before this one, which has the same id in a test

	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)

	go func() { done <- Carry(ctx, c.dir, c.lines, func(s string) { c.Log(s) }) }()

	for end := time.Now().Add(time.Minute); !Carried(c.dir); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			c.Fatal("nobody carries it")
		}
	}

	return func() {
		stop()

		if err := <-done; err != nil {
			c.Error(err)
		}
	}
}

// reaches reports whether a connection over the line comes to its server.
func (c *carrying) reaches(within time.Duration) bool {
	c.Helper()

	client, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(c.lines[0].Port))
	if err != nil {
		c.Fatal(err)
	}
	defer client.Close()

	_ = c.server.(*net.TCPListener).SetDeadline(time.Now().Add(within))

	s, err := c.server.Accept()
	if err == nil {
		_ = s.Close()
	}

	return err == nil
}

// TestPlant: when a fault is said to be planted it is, when it is said to be taken away it is gone, and a process that is
// started again carries on with what is planted.
func TestPlant(t *testing.T) {
	c := newCarrying(t)
	end := c.carry()

	if !c.reaches(time.Minute) {
		t.Fatal("the line leads nowhere")
	}

	cut := Fault{Do: Cut, Link: "east", Way: Both}
	for range 2 {
		if err := Plant(t.Context(), c.dir, cut); err != nil {
			t.Fatal(err)
		}
	}

	if c.reaches(100 * time.Millisecond) {
		t.Error("a line that is cut leads to its server")
	}

	end()
	end = c.carry()

	if fs, err := List(c.dir); err != nil || len(fs) != 1 || fs[0] != cut {
		t.Errorf("%+v %v", fs, err)
	}

	if c.reaches(100 * time.Millisecond) {
		t.Error("the fault is gone with the process")
	}

	for range 2 {
		if err := Mend(t.Context(), c.dir, Cut, "east"); err != nil {
			t.Fatal(err)
		}
	}

	// Those that waited may have come first.
	if !c.reaches(time.Minute) {
		t.Error("the line was not mended")
	}

	// A file that nobody can read changes nothing, and nobody is told that a fault was planted.
	bad := filepath.Join(c.dir, "cut@east.fault")
	if err := os.WriteFile(bad, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := Plant(t.Context(), c.dir, Fault{Do: Slow, Link: "east", By: 1}); !fail.Is(err, fail.Corrupt) {
		t.Errorf("%v", err)
	}

	if _, err := os.Stat(filepath.Join(c.dir, "slow@east.fault")); err == nil {
		t.Error("a fault that nobody carries out is left over")
	}

	if err := Clear(t.Context(), c.dir); err != nil {
		t.Error(err)
	}

	end()

	// Where nobody carries the lines nothing is planted, and what is taken away is gone.
	dead := fmt.Sprintf(`{"pid": %d, "start": 1, "mark": "%x"}`, os.Getpid(), sha256.Sum256(nil))
	if err := os.WriteFile(filepath.Join(c.dir, applied), []byte(dead), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := Plant(t.Context(), c.dir, cut); !fail.Is(err, fail.Unavailable) {
		t.Errorf("%v", err)
	}

	if err := Mend(t.Context(), c.dir, Cut, "east"); err != nil {
		t.Error(err)
	}

	if fs, err := List(c.dir); err != nil || len(fs) != 0 {
		t.Errorf("%+v %v", fs, err)
	}
}

// A lab that is removed takes the process along.
func TestEndsWithItsDirectory(t *testing.T) {
	c := newCarrying(t)
	c.dir = filepath.Join(c.dir, "lines")

	if err := os.Mkdir(c.dir, 0o755); err != nil {
		t.Fatal(err)
	}

	end := c.carry()

	if err := os.RemoveAll(c.dir); err != nil {
		t.Fatal(err)
	}

	// It ends by itself: the port is free again.
	for limit := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(c.lines[0].Port))
		if err == nil {
			_ = l.Close()
			break
		}

		if !strings.Contains(err.Error(), "in use") || time.Now().After(limit) {
			t.Fatal(err)
		}
	}

	end()
}
