package lab_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"drctl/internal/lab"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
)

// A proxy that dies is started again while somebody keeps the lab; what else dies stays down.
func TestKeepStartsADeadProxyAgain(t *testing.T) {
	t.Parallel()

	opt := lab.Options{Dir: filepath.Join(sandboxtest.Dir(t), "lab"), Shards: 1, Redis: 1, Proxies: true, Tools: sandboxtest.Tools(t)}

	l, err := lab.Up(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = l.Down(context.Background(), true) })

	ctx, leave := context.WithCancel(t.Context())
	done := make(chan error, 1)

	var said atomic.Int32

	go func() {
		done <- lab.Keep(ctx, opt.Dir, opt.Tools, func(s string) {
			if strings.HasPrefix(s, "proxy/") {
				said.Add(1)
			}
		})
	}()

	was := map[string]int{}
	for _, s := range l.Servers() {
		if s.Role == lab.Proxy || s.Name == "west/carts/0" {
			was[s.Name] = s.Proc.Pid

			if err := s.Proc.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}

	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		now, err := lab.Open(opt.Dir, opt.Tools)
		if err != nil {
			t.Fatal(err)
		}

		again := 0
		for _, s := range now.Servers() {
			if s.Role == lab.Proxy && s.Proc.Alive() && s.Proc.Pid != was[s.Name] {
				again++
			}

			if s.Name == "west/carts/0" && s.Proc.Pid != was[s.Name] {
				t.Fatal("a store was started, too")
			}
		}

		if again == 2 {
			l = now
			break
		}

		if time.Now().After(end) {
			t.Fatalf("%d of 2 proxies run again", again)
		}
	}

	leave()

	if err := <-done; err != nil || said.Load() != 2 {
		t.Errorf("%v; it said %d of 2", err, said.Load())
	}

	theirs(t, l, opt)
}

// theirs has somebody else start a Redis server in its directory: the lab knows it, and takes it down.
func theirs(t *testing.T, l *lab.Lab, opt lab.Options) {
	t.Helper()

	dir := ""
	for _, s := range l.Servers() {
		if s.Name == "west/carts/0" {
			dir = s.Dir
		}
	}

	if out, err := exec.Command("redis-server", filepath.Join(dir, "redis.conf"), "--daemonize", "yes", "--dir", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	in := func() []servers.Server { return servers.In(dir) }
	for end := time.Now().Add(time.Minute); len(in()) != 1; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not run")
		}
	}

	own := in()[0]

	now, err := lab.Open(opt.Dir, opt.Tools)
	if err == nil {
		err = now.Down(t.Context(), true)
	}

	if err != nil || own.Alive() {
		_ = own.Kill()
		t.Errorf("%v; it runs: %t", err, own.Alive())
	}
}
