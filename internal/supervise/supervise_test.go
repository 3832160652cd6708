package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proc"
)

// The test binary is its own child: the mode is in the environment.
const modeVar = "DRCTL_SUPERVISE_TEST"

func TestMain(m *testing.M) {
	mode := os.Getenv(modeVar)
	if mode == "" {
		os.Exit(m.Run())
	}

	arg := ""
	if len(os.Args) > 1 {
		arg = os.Args[1]
	}

	os.Exit(childMain(mode, arg))
}

func childMain(mode, arg string) int {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)

	switch mode {
	case "crash":
		fmt.Fprintln(os.Stderr, "crashing")
		return 1
	case "usage":
		return 2
	case "refuse":
		fmt.Println("refused")
		return 1
	case "blocked":
		Report(os.Stdout, "", fail.New(fail.Conflict, "listen", "127.0.0.1:7233", "choose another port", errors.New("address already in use")))
		return 1
	case "fails": // once it is ready
		fmt.Println("ready fails")
		time.Sleep(200 * time.Millisecond) // so that it is seen to be ready first

		Report(os.Stdout, "", fail.New(fail.Unavailable, "serve", "east", "look at the disk", errors.New("the disk is gone")))
		fmt.Fprintln(os.Stderr, "drctl: serve: east: the namespace is gone (make it again)")
		fmt.Fprintln(os.Stderr, "panic: nobody is left\n\ngoroutine 1 [running]:")

		return 1
	case "silent": // never ready
		<-term
		return 0
	case "stubborn":
		fmt.Println("ready stubborn")

		for {
			<-term
		}
	case "parent": // leaves a grandchild in its group
		cmd := exec.Command("sleep", "600")
		if err := cmd.Start(); err != nil {
			return 1
		}
		_ = os.WriteFile(arg, []byte(fmt.Sprint(cmd.Process.Pid)), 0o600)
		fmt.Println("ready parent")
		<-term

		return 0
	case "supervisor":
		s, err := New(Options{StateDir: arg, Children: []Child{serve("a"), serve("b", "a")}})
		if err != nil {
			fmt.Println(err)
			return 1
		}

		if err := s.Run(context.Background()); err != nil {
			return 1
		}

		return 0
	}
	// "serve": ready, with its pid as its address; leaves a trace of its end in arg.
	slog.New(slog.NewJSONHandler(os.Stderr, nil)).Warn("hello", "mode", mode)
	fmt.Println("some noise")
	fmt.Printf("ready pid-%d\n", os.Getpid())
	<-term

	if arg != "" {
		f, _ := os.OpenFile(arg, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		_, _ = fmt.Fprintln(f, mode)
		_ = f.Close()
	}

	return 0
}

func self(mode string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), modeVar+"="+mode)

	return cmd
}

func readyLine(line string) (bool, string, error) {
	if line == "refused" {
		return false, "", fail.Newf(fail.Unsupported, "child", "it", "made by a newer one")
	}

	if a, ok := strings.CutPrefix(line, "ready "); ok {
		return ok, a, nil
	}

	return ParseReport(line)
}

func spawn(name, mode, arg string, after ...string) Child {
	return Child{Name: name, After: after, ReadyLine: readyLine, ReadyTimeout: 2 * time.Minute, StopTimeout: 2 * time.Minute,
		Command: func(func(string) string) (*exec.Cmd, error) { return self(mode, arg), nil }}
}

func serve(name string, after ...string) Child { return spawn(name, "serve-"+name, "", after...) }

// run starts a supervisor and stops it at the end of the test.
func run(t *testing.T, o Options) (s *Supervisor, stop func() error) {
	t.Helper()

	if o.StateDir == "" {
		o.StateDir = t.TempDir()
	}

	if o.MinBackoff == 0 {
		o.MinBackoff = 10 * time.Millisecond
	}

	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())

	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })

	return s, stop
}

func waitReady(t *testing.T, s *Supervisor) State {
	t.Helper()

	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()

	if err := s.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}

	return s.State()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()

	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}

	t.Fatalf("never happened: %s", what)
}

func TestKilledChildIsStartedAgainAndOthersGoOn(t *testing.T) {
	s, _ := run(t, Options{Children: []Child{serve("engine"), serve("east", "engine"), serve("west", "engine")}})

	before := waitReady(t, s)
	for _, victim := range []string{"east", "west"} {
		old, _ := before.Child(victim)
		if err := syscall.Kill(old.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}

		eventually(t, victim+" restarted", func() bool {
			now, _ := s.State().Child(victim)
			return now.Phase == Ready && now.Pid != old.Pid && now.Restarts == 1
		})
	}

	was, _ := before.Child("engine")
	if now, _ := s.State().Child("engine"); now.Pid != was.Pid {
		t.Fatalf("the engine was restarted too: %d, then %d", was.Pid, now.Pid)
	}
}

func TestMovedAddressRestartsThoseThatDependOnIt(t *testing.T) {
	var mu sync.Mutex
	var given []string
	w := serve("east", "engine")
	w.Command = func(address func(string) string) (*exec.Cmd, error) {
		mu.Lock()
		defer mu.Unlock()
		given = append(given, address("engine"))

		return self("serve-east"), nil
	}
	s, _ := run(t, Options{Children: []Child{serve("engine"), w}}) // its address is its pid

	engine, _ := waitReady(t, s).Child("engine")
	if err := syscall.Kill(engine.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	eventually(t, "the worker has the new address", func() bool {
		now, _ := s.State().Child("engine")

		mu.Lock()
		defer mu.Unlock()

		return now.Phase == Ready && now.Pid != engine.Pid && given[len(given)-1] == now.Address
	})
}

func TestStopsInOrder(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	mk := func(name string, after ...string) Child { return spawn(name, name, trace, after...) }
	s, stop := run(t, Options{Children: []Child{mk("worker", "engine"), mk("engine"), mk("web", "worker")}})

	st := waitReady(t, s)
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}

	if got := strings.Fields(string(b)); strings.Join(got, " ") != "web worker engine" {
		t.Fatalf("stopped in the order %v", got)
	}

	for _, c := range st.Children {
		if c.Alive() {
			t.Errorf("%s is alive", c.Name)
		}
	}
}

func TestStubbornChildIsKilled(t *testing.T) {
	c := spawn("mule", "stubborn", "")
	c.StopTimeout = 200 * time.Millisecond
	s, stop := run(t, Options{Children: []Child{c}})

	st := waitReady(t, s)
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	if st.Children[0].Alive() {
		t.Fatal("it is alive")
	}
}

func TestGrandchildrenGoWithTheirParent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	s, _ := run(t, Options{Children: []Child{spawn("p", "parent", file)}})
	st := waitReady(t, s)

	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		t.Fatal(err)
	}

	id, err := proc.Of(pid)
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(st.Children[0].Pid, syscall.SIGKILL)

	eventually(t, "the grandchild is gone", func() bool { return !id.Alive() })
}

func TestNothingOutlivesAKilledSupervisor(t *testing.T) {
	dir := t.TempDir()

	cmd := self("supervisor", dir)

	if err := proc.Start(cmd); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	var st State
	eventually(t, "both children ready", func() bool {
		st, _ = ReadState(dir)
		return len(st.Children) == 2 && st.Children[0].Phase == Ready && st.Children[1].Phase == Ready
	})

	if !st.Alive() || st.Pid != cmd.Process.Pid {
		t.Fatalf("the state says %+v", st)
	}

	_, err := New(Options{StateDir: dir, Children: []Child{serve("a")}})
	if !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
		t.Fatalf("a second supervisor: %v", err)
	}

	_ = cmd.Process.Kill()
	_ = cmd.Wait()

	eventually(t, "the children are gone", func() bool {
		return !st.Children[0].Alive() && !st.Children[1].Alive()
	})

	if st, err := ReadState(dir); err != nil || st.Alive() {
		t.Fatalf("the state left behind: %+v, %v", st, err)
	}
	s, _ := run(t, Options{StateDir: dir, Children: []Child{serve("a")}}) // the lock went too
	waitReady(t, s)
}

func TestGivesUpOnAChildThatNeverWorks(t *testing.T) {
	for _, tc := range []struct {
		mode string
		code fail.Code
		runs int
	}{{"crash", fail.Unavailable, 3}, {"usage", fail.Invalid, 1}, {"refuse", fail.Unsupported, 1}, {"blocked", fail.Conflict, 3}} {
		t.Run(tc.mode, func(t *testing.T) {
			s, err := New(Options{StateDir: t.TempDir(), MinBackoff: time.Millisecond, GiveUp: 3,
				Children: []Child{serve("good"), spawn("bad", tc.mode, "")}})
			if err != nil {
				t.Fatal(err)
			}

			ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
			defer cancel()

			err = s.Run(ctx)
			if !fail.Is(err, tc.code) {
				t.Fatalf("got %v, want code %s", err, tc.code)
			}

			st := s.State()
			if bad, _ := st.Child("bad"); bad.Restarts != tc.runs {
				t.Errorf("%d runs, want %d", bad.Restarts, tc.runs)
			}

			if good, _ := st.Child("good"); good.Phase != Stopped {
				t.Errorf("the good child is %s", good.Phase)
			}
		})
	}
}

func TestNotReadyInTimeAndSick(t *testing.T) {
	t.Run("never ready", func(t *testing.T) {
		c := spawn("slow", "silent", "")
		c.ReadyTimeout = 50 * time.Millisecond

		s, err := New(Options{StateDir: t.TempDir(), MinBackoff: time.Millisecond, GiveUp: 2, Children: []Child{c}})
		if err != nil {
			t.Fatal(err)
		}

		if err := s.Run(t.Context()); !fail.Is(err, fail.Stalled) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("sick", func(t *testing.T) {
		c := serve("ill")
		c.HealthEvery = 5 * time.Millisecond
		var mu sync.Mutex
		patient := ""
		c.Health = func(_ context.Context, address string) error {
			mu.Lock()
			defer mu.Unlock()

			if address == patient {
				return errors.New("no answer")
			}

			return nil
		}
		s, _ := run(t, Options{Children: []Child{c}})
		was := waitReady(t, s).Children[0]

		mu.Lock()
		patient = was.Address

		mu.Unlock()
		eventually(t, "it was replaced", func() bool {
			now := s.State().Children[0]
			return now.Phase == Ready && now.Pid != was.Pid
		})

		if was.Alive() {
			t.Fatal("the sick one is alive")
		}
	})
}

func TestEventsAndLog(t *testing.T) {
	var buf syncBuffer
	s, stop := run(t, Options{Children: []Child{serve("a")}, Log: slog.New(slog.NewTextHandler(&buf, nil))})
	waitReady(t, s)
	eventually(t, "the log line", func() bool {
		return strings.Contains(buf.String(), `level=WARN msg=hello child=a mode=serve-a`) && strings.Contains(buf.String(), "some noise")
	})

	if err := stop(); err != nil {
		t.Fatal(err)
	}

	var phases []string
	for e := range s.Events() {
		phases = append(phases, string(e.Child.Phase))
	}

	if got := strings.Join(phases, " "); got != "starting ready stopping stopped" {
		t.Fatalf("events: %s", got)
	}
}

// What ends a child that was ready is an error, whoever said it where.
func TestLastErrorsAreErrors(t *testing.T) {
	var buf syncBuffer
	c := serve("a")
	c.Command = func(func(string) string) (*exec.Cmd, error) { return self("fails"), nil }
	run(t, Options{Children: []Child{c}, Log: slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelError}))})

	for _, want := range []string{`child=a err="serve: east: the disk is gone (look at the disk)" code=unavailable`,
		`level=ERROR msg="serve: east: the namespace is gone (make it again)" child=a`,
		`level=ERROR msg="panic: nobody is left" child=a`, `level=ERROR msg="goroutine 1 [running]:" child=a`} {
		eventually(t, want, func() bool { return strings.Contains(buf.String(), want) })
	}
}

func TestOrderRefusesCirclesAndStrangers(t *testing.T) {
	for _, cs := range [][]Child{{serve("a", "b"), serve("b", "a")}, {serve("a", "nobody")}, {serve("a"), serve("a")}} {
		if _, err := New(Options{StateDir: t.TempDir(), Children: cs}); !fail.Is(err, fail.Invalid) {
			t.Errorf("%v: got %v", cs[0].After, err)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.b.String()
}

func TestReportComesBackWhole(t *testing.T) {
	var b bytes.Buffer
	Report(&b, "drctl.east", nil)

	if ready, address, err := ParseReport(b.String()); !ready || address != "drctl.east" || err != nil {
		t.Errorf("%s: %v %q %v", &b, ready, address, err)
	}

	coded := fail.New(fail.NotFound, "find tools", "/none/restic", "correct sandbox.tools", errors.New("no such file"))
	for _, want := range []error{coded, fail.New(fail.Denied, "a", "", "", nil), fmt.Errorf("while starting: %w", coded), errors.New("bare")} {
		b.Reset()
		Report(&b, "", want)

		ready, _, err := ParseReport(b.String())
		if ready || err == nil || fail.CodeOf(err) != fail.CodeOf(want) || !strings.Contains(err.Error(), want.Error()) {
			t.Errorf("%s: %v, want %v", &b, err, want)
		}
	}

	for _, line := range []string{"", "noise", "{}", `{"msg":"hello"}`, "[1]", `"address"`} {
		if ready, address, err := ParseReport(line); ready || address != "" || err != nil {
			t.Errorf("%q: %v %q %v", line, ready, address, err)
		}
	}
}
