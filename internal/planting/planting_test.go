package planting

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"drctl/internal/fail"
)

// bench is a keeper that notes what it is made to do.
type bench struct {
	*testing.T
	*Keeper
	dir   string
	calls []string
	// fails are calls that fail.
	fails map[string]error
}

func (b *bench) call(what string) error {
	b.calls = append(b.calls, what)
	return b.fails[what]
}

func newBench(t *testing.T) *bench {
	t.Helper()

	b := &bench{T: t, dir: t.TempDir(), fails: map[string]error{}}
	b.Keeper = &Keeper{Dir: filepath.Join(t.TempDir(), "planted"), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Start:    func(context.Context, Fault) error { return b.call("start") },
		MayStart: func(context.Context, Fault) error { return b.call("may start") },
		Program:  func(_ context.Context, _ string, argv []string) (string, error) { return "said", b.call(argv[0]) },
		Tell: func(_ context.Context, f Fault) error {
			if f.Removed.IsZero() {
				return b.call("tell intent")
			}

			return b.call("tell removed")
		}}

	return b
}

func (b *bench) did(want ...string) {
	b.Helper()

	if !slices.Equal(b.calls, want) {
		b.Errorf("it did %q, want %q", b.calls, want)
	}
	b.calls = nil
}

func (b *bench) fault() Fault {
	return Fault{ID: "run-0", Drill: "d", Group: "shop", Do: "exec", On: "region:east", Exec: []string{"plant"}, Undo: []string{"undo"}, Intended: time.Now().UTC(), Until: time.Now().Add(time.Hour).UTC()}
}

// server runs processes that look like those of a PostgreSQL server, the first of them the postmaster.
func (b *bench) server(titles ...string) []*exec.Cmd {
	b.Helper()

	bin := filepath.Join(b.TempDir(), "postgres")

	sleep, err := exec.LookPath("sleep")
	if err != nil {
		b.Fatal(err)
	}

	program, err := os.ReadFile(sleep)
	if err == nil {
		err = os.WriteFile(bin, program, 0o755)
	}

	if err == nil {
		err = os.WriteFile(filepath.Join(b.dir, "PG_VERSION"), nil, 0o600)
	}

	if err != nil {
		b.Fatal(err)
	}

	var out []*exec.Cmd
	for _, title := range titles {
		c := &exec.Cmd{Path: bin, Args: []string{title, "600"}, Dir: b.dir}
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}

		ended := make(chan struct{})
		go func() { _ = c.Wait(); close(ended) }()

		b.Cleanup(func() {
			_ = c.Process.Kill()

			<-ended
		})
		out = append(out, c)
	}

	return out
}

// states are those of the processes: T is stopped.
func states(cs []*exec.Cmd) (out string) {
	for _, c := range cs {
		if stopped(c.Process.Pid) {
			out += "T"
		} else if state(c.Process.Pid) != "" {
			out += "-"
		}
	}

	return out
}

// Only the processes that are meant are frozen, and all go on.
func TestFreeze(t *testing.T) {
	for _, c := range []struct{ do, want string }{{"stop", "TTT"}, {"mute", "--T"}, {"stall", "-T-"}} {
		b := newBench(t)
		all := b.server("/usr/lib/postgresql/15/bin/postgres", "postgres: main: startup recovering 0000", "postgres: walreceiver streaming 0/1")
		f := b.fault()
		f.Do, f.Dir = c.do, b.dir

		if f, err := b.Plant(t.Context(), f); err != nil || f.Planted.IsZero() || states(all) != c.want {
			t.Errorf("%s: %v, %s, want %s", c.do, err, states(all), c.want)
		}

		if f, err := b.Remove(t.Context(), f.ID, "over"); err != nil || f.Removed.IsZero() || states(all) != "---" {
			t.Errorf("%s: %v, %s", c.do, err, states(all))
		}
	}
}

// A killed server is started again, but not while its group may have moved; a standby always is.
func TestKill(t *testing.T) {
	moved := fail.Newf(fail.Conflict, "test", "shop", "it has moved")

	for _, c := range []struct {
		name   string
		moved  error
		signal bool
		did    []string
		stays  bool
	}{
		{"a primary", nil, false, []string{"may start", "start"}, false},
		{"one whose group has moved", moved, false, []string{"may start"}, true},
		{"a standby", moved, true, []string{"start"}, false},
	} {
		b := newBench(t)
		b.Tell, b.fails["may start"] = nil, c.moved
		all := b.server("postgres", "postgres: checkpointer")

		if c.signal {
			if err := os.WriteFile(filepath.Join(b.dir, "standby.signal"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}

		f := b.fault()
		f.Do, f.Dir = "kill", b.dir

		if _, err := b.Plant(t.Context(), f); err != nil || len(residents(b.dir)) != 0 {
			t.Fatalf("%s: %v, %s", c.name, err, states(all))
		}

		b.did()

		got, err := b.Remove(t.Context(), f.ID, "over")
		if err != nil || got.Removed.IsZero() || (got.Stays != "") != c.stays {
			t.Errorf("%s: %v %+v", c.name, err, got)
		}

		b.did(c.did...)
	}
}

// The intent is on record before anything is touched, here and elsewhere.
func TestTheIntentComesFirst(t *testing.T) {
	b := newBench(t)
	f := b.fault()

	b.Program = func(context.Context, string, []string) (string, error) {
		if all, err := b.All(); err != nil || len(all) != 1 || !all[0].Planted.IsZero() {
			t.Errorf("on record: %+v, %v", all, err)
		}

		return "", b.call("plant")
	}

	if _, err := b.Plant(t.Context(), f); err != nil {
		t.Fatal(err)
	}

	b.did("tell intent", "plant")

	// Where it cannot be kept, nothing is touched. A vault may have it all the same: it is told that nothing is left.
	b = newBench(t)
	b.fails["tell intent"] = errors.New("no vault")

	if _, err := b.Plant(t.Context(), f); err == nil {
		t.Error("it was planted")
	}

	b.did("tell intent")

	if f, err := b.Remove(t.Context(), f.ID, "over"); err != nil || f.Removed.IsZero() || !f.Untouched {
		t.Errorf("%+v, %v", f, err)
	}

	b.did("tell removed")

	// An attempt that came no further is gone on with.
	b = newBench(t)
	b.fails["tell intent"] = errors.New("no vault")
	_, _ = b.Plant(t.Context(), f)
	b.fails = nil

	if f, err := b.Plant(t.Context(), f); err != nil || f.Planted.IsZero() || f.Untouched {
		t.Errorf("%+v, %v", f, err)
	}

	b.did("tell intent", "tell intent", "plant")
}

// Of two that plant at once, who sees the other plants nothing.
func TestNobodyPlantsBesideOthers(t *testing.T) {
	b := newBench(t)
	b.Alone = func(context.Context, Fault) error { return b.call("alone") }
	b.fails["alone"] = fail.Newf(fail.Conflict, "test", "shop", "another drill has planted something")

	if f, err := b.Plant(t.Context(), b.fault()); !fail.Is(err, fail.Conflict) || !f.Planted.IsZero() {
		t.Errorf("%+v, %v", f, err)
	}

	b.did("tell intent", "alone")

	if f, err := b.Remove(t.Context(), b.fault().ID, "over"); err != nil || f.Removed.IsZero() {
		t.Errorf("%+v, %v", f, err)
	}

	b.did("tell removed")
}

// A server that did not run is not killed, and so it is not started: it may have been left down on purpose.
func TestWhoDidNotRunIsNotStarted(t *testing.T) {
	for _, do := range []string{"kill", "stop", "mute", "stall"} {
		b := newBench(t)
		f := b.fault()
		f.Do, f.Dir = do, b.dir

		if err := os.WriteFile(filepath.Join(b.dir, "PG_VERSION"), nil, 0o600); err != nil {
			t.Fatal(err)
		}

		if f, err := b.Plant(t.Context(), f); !fail.Is(err, fail.NotFound) || !f.Planted.IsZero() {
			t.Errorf("%s: %+v, %v", do, f, err)
		}

		b.did()

		if all, err := b.All(); err != nil || len(all) != 0 {
			t.Errorf("%s: on record: %+v, %v", do, all, err)
		}
	}
}

// What could not be taken away is not planted.
func TestWhatCannotBeTakenAwayIsNotPlanted(t *testing.T) {
	for name, change := range map[string]func(*bench, *Fault){
		"nothing undoes it":          func(_ *bench, f *Fault) { f.Undo = nil },
		"what undoes it is not here": func(b *bench, _ *Fault) { b.fails["undo"] = errors.New("no such file") },
		"what starts it is not here": func(b *bench, f *Fault) {
			b.server("postgres")
			f.Do, f.Dir, f.Start, b.fails["start it"] = "kill", b.dir, []string{"start it"}, errors.New("no such file")
		},
	} {
		b := newBench(t)
		b.Runnable = func(argv []string) error { return b.fails[argv[0]] }
		f := b.fault()
		change(b, &f)

		if f, err := b.Plant(t.Context(), f); err == nil || !f.Planted.IsZero() {
			t.Errorf("%s: %+v", name, f)
		}

		b.did()
	}
}

// A fault that has ended by itself was not in effect until it was taken away, and that is said.
func TestAFaultThatEndedByItselfIsToldApart(t *testing.T) {
	for _, c := range []struct {
		name, do, over string
		meanwhile      func(*bench, []*exec.Cmd)
	}{
		{"frozen to the end", "stop", "", func(*bench, []*exec.Cmd) {}},
		{"let go by somebody", "stop", "somebody has let its processes go on", func(_ *bench, cs []*exec.Cmd) {
			for _, c := range cs {
				_ = c.Process.Signal(syscall.SIGCONT)
			}
		}},
		{"down to the end", "kill", "", func(*bench, []*exec.Cmd) {}},
		{"started by somebody", "kill", "somebody has started the server", func(b *bench, _ []*exec.Cmd) { b.server("postgres") }},
	} {
		b := newBench(t)
		all := b.server("postgres", "postgres: checkpointer")
		f := b.fault()
		f.Do, f.Dir = c.do, b.dir

		if _, err := b.Plant(t.Context(), f); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}

		c.meanwhile(b, all)

		if c.over == "somebody has let its processes go on" {
			for states(all) != "--" {
				time.Sleep(time.Millisecond)
			}
		}

		f, err := b.Remove(t.Context(), f.ID, "over")
		if err != nil || f.Over != c.over {
			t.Errorf("%s: %q, %v", c.name, f.Over, err)
		}

		// What undoing it has done is not taken for that.
		if f, err = b.Remove(t.Context(), f.ID, "over"); err != nil || f.Over != c.over {
			t.Errorf("%s: %q, %v", c.name, f.Over, err)
		}
	}
}

// A role may be called like a process.
func TestARoleIsNoProcessOfTheServer(t *testing.T) {
	for title, want := range map[string]bool{"postgres: startup recovering 0000": true, "postgres: main: startup": true, "postgres: startup_reader shop 127.0.0.1(40000) idle": false,
		"postgres: main: startup_reader shop [local] idle": false, "postgres: checkpointer": false} {
		if titled("startup")(title) != want {
			t.Errorf("%q: not %v", title, want)
		}
	}
}

// A fault is planted once. After a death between intent and planting it is taken away.
func TestAFaultIsPlantedOnce(t *testing.T) {
	b := newBench(t)
	f := b.fault()

	first, err := b.Plant(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}

	again, err := b.Plant(t.Context(), f)
	if err != nil || !again.Planted.Equal(first.Planted) {
		t.Errorf("%v %+v", err, again)
	}

	b.did("tell intent", "plant")

	if _, err := b.Remove(t.Context(), f.ID, "over"); err != nil {
		t.Fatal(err)
	}

	if _, err := b.Remove(t.Context(), f.ID, "over"); err != nil {
		t.Fatal(err)
	}

	b.did("undo", "tell removed")

	if _, err := b.Plant(t.Context(), f); !fail.Is(err, fail.Conflict) {
		t.Errorf("it was planted again: %v", err)
	}

	f.ID = "run-1"
	if err := b.write(f); err != nil { // all that a killed process leaves
		t.Fatal(err)
	}

	got, err := b.Plant(t.Context(), f)
	if !fail.Is(err, fail.Unverified) || got.Removed.IsZero() {
		t.Errorf("%v %+v", err, got)
	}

	b.did("undo", "tell removed")

	// One that could not be planted is taken away too.
	f.ID, b.fails["plant"] = "run-2", errors.New("no")

	if got, err := b.Plant(t.Context(), f); err == nil || got.Removed.IsZero() {
		t.Errorf("%v %+v", err, got)
	}

	b.did("tell intent", "plant", "undo", "tell removed")
}

// What is left is taken away when its time is up or its drill has ended, and stays on the list until it is gone.
func TestSweep(t *testing.T) {
	b := newBench(t)
	ended := false
	sweep := func(left int) {
		t.Helper()

		all, _ := b.Sweep(t.Context(), func(Fault) string {
			if ended {
				return Ended
			}

			return ""
		})
		if len(all) != left {
			t.Errorf("%d are left, want %d: %+v", len(all), left, all)
		}
	}

	f := b.fault()
	if _, err := b.Plant(t.Context(), f); err != nil {
		t.Fatal(err)
	}

	b.did("tell intent", "plant")
	sweep(1)
	b.did()

	ended, b.fails["undo"] = true, errors.New("not yet")

	sweep(1)
	b.did("undo")

	if all, _ := b.All(); len(all) != 1 || all[0].Left == "" {
		t.Errorf("%+v", all)
	}

	b.fails = map[string]error{"tell removed": errors.New("no vault")}

	sweep(0)
	b.did("undo", "tell removed")

	b.fails = nil

	sweep(0) // the vaults are told later
	b.did("tell removed")
	sweep(0)
	b.did()

	f.ID, f.Until, ended = "run-9", time.Now().Add(-time.Second), false
	if _, err := b.Plant(t.Context(), f); err != nil {
		t.Fatal(err)
	}

	b.did("tell intent", "plant")
	sweep(0)
	b.did("undo", "tell removed")
}

// A drill that was aborted on this host plants nothing more here, whatever its engine believes.
func TestAnAbortedDrillPlantsNothingMore(t *testing.T) {
	b := newBench(t)
	f := b.fault()
	f.RunID = "run"

	if _, err := b.Plant(t.Context(), f); err != nil {
		t.Fatal(err)
	}

	if left, err := b.Sweep(t.Context(), func(Fault) string { return Aborted }); err != nil || len(left) != 0 {
		t.Fatalf("%+v, %v", left, err)
	}

	b.did("tell intent", "plant", "undo", "tell removed")

	f.ID = "run-1"
	if f, err := b.Plant(t.Context(), f); !fail.Is(err, fail.Conflict) || !f.Planted.IsZero() {
		t.Errorf("%+v, %v", f, err)
	}

	b.did()

	f.ID, f.RunID = "other-0", "other" // the drill is run again
	if _, err := b.Plant(t.Context(), f); err != nil {
		t.Error(err)
	}
}

// A program that does not end keeps nothing else from being taken away for ever.
func TestAProgramThatDoesNotEnd(t *testing.T) {
	b := newBench(t)
	b.Within = 50 * time.Millisecond
	b.Program = func(ctx context.Context, _ string, argv []string) (string, error) {
		if argv[0] == "plant" {
			<-ctx.Done()
		}

		return "", errors.Join(b.call(argv[0]), ctx.Err())
	}

	if f, err := b.Plant(t.Context(), b.fault()); err == nil || f.Removed.IsZero() {
		t.Errorf("%+v, %v", f, err)
	}

	b.did("tell intent", "plant", "undo", "tell removed")
}
