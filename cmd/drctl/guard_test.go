package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"drctl/config"
	"drctl/workflows"
)

// TestKilledCommands kills commands with an engine of their own while servers run in
// their sandboxes. Nothing is left at once, or, when the guard was killed too,
// after the next command.
func TestKilledCommands(t *testing.T) {
	w := ownLab(t, labShape{shards: 1, cutEvery: "20s"})
	w.running(t)
	// The platform's own workers sweep too, once a minute: what is shown here is
	// the guard and the next command, without them.
	w.stopUp(t)

	for _, args := range [][]string{
		{"drill", "run", "region-loss", "--engine", "embedded"},
		{"drill", "run", "region-loss", "--engine", "embedded", "--keep"}, // kept is what came to its end
		{"restore", "run", "--vault", "west", "--engine", "embedded"},
	} {
		for _, guarded := range []bool{true, false} {
			p := w.start(t, runOptions{}, args...)
			eventually(t, 3*time.Minute, "a server in the sandbox", func() error {
				if !p.running() {
					t.Fatalf("%v ended: %s", args, p.err.String())
				}

				if len(w.sandboxProcs()) == 0 {
					return fmt.Errorf("none yet")
				}

				return nil
			})

			if !guarded {
				guard := w.guardOf(t, p.cmd.Process.Pid)
				if err := syscall.Kill(guard, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}

			p.signal(syscall.SIGKILL)
			p.wait(t)

			if !guarded {
				if len(w.sandboxProcs()) == 0 {
					t.Error("the servers ended by themselves: this test shows nothing")
				}

				w.expect(t, 0, []string{"removed sandbox"}, "sandbox", "list")
			}

			eventually(t, 3*time.Minute, fmt.Sprintf("the end of all that %v left, guarded: %v", args, guarded), func() error {
				es, err := os.ReadDir(filepath.Join(w.lab, "sandbox"))
				if procs := w.sandboxProcs(); err != nil || len(es)+len(procs) > 0 {
					return fmt.Errorf("%v, processes %v, %v", es, procs, err)
				}

				return nil
			})
		}
	}

	w.startUp(t)
	testEndedWhileAway(t, w)
	w.searchSecrets(t)
}

// testEndedWhileAway ends a drill's workflow without its clean-up, as when its
// worker's host is away for too long: a worker that comes back removes what is
// left, and leaves a sandbox that was kept.
func testEndedWhileAway(t *testing.T, w *world) {
	kept := sandboxOf(t, w.expect(t, 0, nil, "restore", "run", "--vault", "west", "--shard", "carts/0"))
	p := w.start(t, runOptions{}, "drill", "run", "region-loss")
	eventually(t, 3*time.Minute, "a sandbox with more than the kept one's server", func() error {
		if m, _ := filepath.Glob(filepath.Join(w.lab, "sandbox", "drill-*")); len(m) == 0 || len(w.sandboxProcs()) < 3 {
			return fmt.Errorf("%v", m)
		}

		return nil
	})

	cfg, err := config.Load(w.config(), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}

	c, err := dial(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	if err := c.TerminateWorkflow(context.Background(), workflows.IDs(cfg.Name).Drill("region-loss"), "", "its host was away"); err != nil {
		t.Fatal(err)
	}

	w.stopUp(t)
	p.wait(t)

	if m, _ := filepath.Glob(filepath.Join(w.lab, "sandbox", "drill-*")); len(m) != 1 {
		t.Errorf("the drill's sandbox is not there: %v", m)
	}

	w.startUp(t)
	eventually(t, 3*time.Minute, "the sweep", func() error {
		es, err := os.ReadDir(filepath.Join(w.lab, "sandbox"))
		if err != nil || len(es) != 1 || es[0].Name() != kept {
			return fmt.Errorf("left: %v, %v", es, err)
		}

		return nil
	})
	w.must(t, "sandbox", "rm", kept)
	w.nothingLeft(t)
}

// sandboxProcs are the processes that work in the lab's sandboxes.
func (w *world) sandboxProcs() (pids []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if cwd, err := os.Readlink(d + "/cwd"); err == nil && strings.HasPrefix(cwd, filepath.Join(w.lab, "sandbox")+"/") {
			pids = append(pids, filepath.Base(d))
		}
	}

	return pids
}

// guardOf finds the guard that a command started.
func (w *world) guardOf(t *testing.T, parent int) int {
	t.Helper()

	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		line, _ := os.ReadFile(d + "/cmdline")

		args := strings.Split(string(line), "\x00")
		if slices.Contains(args, "guard") && slices.Contains(args, strconv.Itoa(parent)) {
			pid, _ := strconv.Atoi(filepath.Base(d))
			return pid
		}
	}

	t.Fatalf("process %d has no guard", parent)

	return 0
}
