package engine_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/internal/supervise"
	"drctl/targets"
)

const queue = "test"

// count is a workflow that runs long, in steps that report how far they are.
func count(ctx workflow.Context, steps int) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute, HeartbeatTimeout: 20 * time.Second, WaitForCancellation: true,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: 50 * time.Millisecond, MaximumInterval: time.Second},
	})

	sum := 0
	for i := range steps {
		var n int
		if err := workflow.ExecuteActivity(ctx, "step", i).Get(ctx, &n); err != nil {
			return 0, err
		}
		sum += n

		if err := workflow.Sleep(ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
	}

	return sum, nil
}

func parent(ctx workflow.Context, steps int) (n int, err error) {
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: "child"})
	return n, workflow.ExecuteChildWorkflow(ctx, "count", steps).Get(ctx, &n)
}

// bare returns an error that nobody encoded.
func bare(workflow.Context, int) (int, error) {
	return 0, fail.New(fail.Denied, "open vault", "west", "use the right key", errors.New("wrong key"))
}

func startWorker(t *testing.T, c client.Client, step func(context.Context, int) (int, error)) worker.Worker {
	t.Helper()
	w := engine.NewWorker(c, queue, engine.WorkerOptions{StopTimeout: 2 * time.Second})
	w.RegisterWorkflowWithOptions(count, workflow.RegisterOptions{Name: "count"})
	w.RegisterWorkflowWithOptions(parent, workflow.RegisterOptions{Name: "parent"})
	w.RegisterWorkflowWithOptions(bare, workflow.RegisterOptions{Name: "bare"})
	w.RegisterActivityWithOptions(step, activity.RegisterOptions{Name: "step"})

	if err := w.Start(); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(w.Stop)

	return w
}

func execute(t *testing.T, c client.Client, id, name string, arg int) client.WorkflowRun {
	t.Helper()

	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: queue}, name, arg)
	if err != nil {
		t.Fatal(err)
	}

	return run
}

func TestWorkflowSurvivesKilledEngine(t *testing.T) {
	o := enginetest.Options(t)
	e := enginetest.Start(t, o)
	c := enginetest.Client(t, e)
	var done atomic.Int32
	startWorker(t, c, func(_ context.Context, i int) (int, error) { done.Add(1); return i, nil })
	const steps = 40

	run := execute(t, c, "count", "count", steps)
	for _, at := range []int32{8, 24} {
		waitFor(t, "progress", func() bool { return done.Load() >= at })

		if err := e.Proc.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}

		<-e.Done()
		old := e.Address

		e = enginetest.Start(t, o)
		if e.Address != old {
			t.Fatalf("the engine moved from %s to %s", old, e.Address)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()

	var sum int
	if err := run.Get(ctx, &sum); err != nil || sum != steps*(steps-1)/2 {
		t.Fatalf("got %d, %v", sum, err)
	}
}

func TestErrorsThroughRealWorkflows(t *testing.T) {
	e := enginetest.Start(t, enginetest.Options(t))
	c := enginetest.Client(t, e)
	var calls atomic.Int32
	startWorker(t, c, func(_ context.Context, i int) (int, error) {
		calls.Add(1)

		if calls.Load() == 1 {
			return 0, engine.EncodeError(fail.New(fail.Unavailable, "probe", "orders/1", "", errors.New("connection refused")))
		}

		return 0, engine.EncodeError(fmt.Errorf("while testing: %w",
			fail.New(fail.Corrupt, "verify chunk", "streams/orders/1/x", "restore it from the other vault", errors.New("checksum"))))
	})

	for _, name := range []string{"count", "parent"} {
		err := engine.DecodeError(execute(t, c, name, name, 3).Get(t.Context(), nil))

		var f *fail.Error
		if !errors.As(err, &f) || f.Code != fail.Corrupt || f.Subject != "streams/orders/1/x" || f.Hint == "" || fail.ExitCode(err) != 4 {
			t.Fatalf("%s: got %v", name, err)
		}

		if !strings.HasPrefix(err.Error(), "while testing: verify chunk") {
			t.Errorf("%s: text %q", name, err)
		}
	}

	if n := calls.Load(); n != 3 {
		t.Errorf("%d calls: unavailable is tried again, corrupt is not", n)
	}

	err := engine.DecodeError(execute(t, c, "bare", "bare", 0).Get(t.Context(), nil))
	if !fail.Is(err, fail.Denied) || !strings.Contains(err.Error(), "use the right key") {
		t.Errorf("an error that nobody encoded: %v", err)
	}
}

func TestProgressAndRunning(t *testing.T) {
	e := enginetest.Start(t, enginetest.Options(t))
	c := enginetest.Client(t, e)
	release := make(chan struct{})
	startWorker(t, c, func(ctx context.Context, i int) (int, error) {
		if activity.GetInfo(ctx).Attempt == 1 {
			return 0, engine.EncodeError(fail.Newf(fail.Unavailable, "probe", "orders/1", "connection refused"))
		}

		for n := 0; ; n++ {
			activity.RecordHeartbeat(ctx, map[string]int{"done": n, "total": 100})

			select {
			case <-release:
				return i, nil
			case <-ctx.Done():
				return 0, engine.EncodeError(ctx.Err())
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	run := execute(t, c, "outer", "parent", 1)
	var p engine.Pending
	waitFor(t, "heartbeat details of the child's activity", func() bool {
		ps, err := engine.Progress(t.Context(), c, "outer")
		if err != nil {
			t.Fatal(err)
		}

		if len(ps) != 1 || ps[0].Details == nil {
			return false
		}
		p = ps[0]
		var d struct{ Done, Total int }

		return json.Unmarshal(p.Details, &d) == nil && d.Total == 100 && d.Done > 3
	})

	if p.Workflow != "child" || p.Activity != "step" || p.Attempt != 2 || p.State != "started" || p.LastCode != fail.Unavailable ||
		p.LastFailure != "probe: orders/1: connection refused" || p.Started.IsZero() || p.LastHeartbeat.IsZero() {
		t.Errorf("got %+v", p)
	}

	waitFor(t, "both in the list", func() bool {
		rs, err := engine.Running(t.Context(), c, "")
		if err != nil {
			t.Fatal(err)
		}

		return len(rs) == 2
	})

	if rs, err := engine.Running(t.Context(), c, "out"); err != nil || len(rs) != 1 || rs[0].ID != "outer" || rs[0].Workflow != "parent" {
		t.Errorf("running with a prefix: %+v, %v", rs, err)
	}
	began := time.Now()

	if err := c.CancelWorkflow(t.Context(), "outer", ""); err != nil {
		t.Fatal(err)
	}

	err := engine.DecodeError(run.Get(t.Context(), nil))
	if fail.ExitCode(err) != 130 {
		t.Errorf("a cancelled workflow: %v", err)
	}

	t.Logf("cancelled within %s", time.Since(began))
	close(release)

	if _, err := engine.Progress(t.Context(), c, "nobody"); !fail.Is(err, fail.NotFound) {
		t.Errorf("progress of nothing: %v", err)
	}
}

func TestOutcomeOfAnActivity(t *testing.T) {
	e := enginetest.Start(t, enginetest.Options(t))
	c := enginetest.Client(t, e)
	end := make(chan error)
	startWorker(t, c, func(ctx context.Context, i int) (int, error) {
		for {
			activity.RecordHeartbeat(ctx, i)

			select {
			case err := <-end:
				return i, engine.EncodeError(err)
			case <-ctx.Done():
				return 0, ctx.Err()
			case <-time.After(50 * time.Millisecond):
			}
		}
	})

	for name, give := range map[string]error{"done": nil, "failed": fail.Newf(fail.Corrupt, "verify", "x", "checksum"), "cancelled": context.Canceled} {
		run := execute(t, c, name, "count", 1)
		var p engine.Pending
		waitFor(t, "a pending activity", func() bool {
			ps, err := engine.Progress(t.Context(), c, name)
			if err != nil {
				t.Fatal(err)
			}

			if len(ps) == 1 {
				p = ps[0]
			}

			return len(ps) == 1 && p.State == "started"
		})

		if known, err := engine.Outcome(t.Context(), c, p); known {
			t.Errorf("%s: it has ended already: %v", name, err)
		}

		if name == "cancelled" {
			if err := c.CancelWorkflow(t.Context(), name, ""); err != nil {
				t.Fatal(err)
			}
		} else {
			end <- give
		}
		_ = run.Get(t.Context(), nil)

		known, err := engine.Outcome(t.Context(), c, p)
		if !known || (err == nil) != (give == nil) || give != nil && fail.CodeOf(err) != fail.CodeOf(give) {
			t.Errorf("%s: %v, known %v", name, err, known)
		}
	}
}

func TestDialErrors(t *testing.T) {
	e := enginetest.Start(t, enginetest.Options(t))
	nobody := e.Options()
	nobody.Namespace = "nobody"

	_, err := engine.Dial(t.Context(), nobody)
	if !fail.Is(err, fail.NotFound) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("unknown namespace: %v", err)
	}

	_, err = engine.Dial(t.Context(), engine.Options{Address: "127.0.0.1:1", Timeout: time.Second})
	if !fail.Is(err, fail.Unavailable) {
		t.Errorf("nobody listens: %v", err)
	}
	key := targets.NewSecret("sesame")

	_, err = engine.Dial(t.Context(), engine.Options{Address: enginetest.PlainFront(t, e), APIKey: key, Timeout: time.Second})
	if !fail.Is(err, fail.Unavailable) || strings.Contains(err.Error(), "sesame") {
		t.Errorf("an API key without TLS at the other end: %v", err)
	}

	_, err = engine.Dial(t.Context(), engine.Options{Address: e.Address, TLS: &engine.TLS{CAFile: filepath.Join(t.TempDir(), "none")}})
	if !fail.Is(err, fail.Invalid) {
		t.Errorf("no CA file: %v", err)
	}
}

// What else has the port of a platform's engine is never taken for it, nor for an
// engine that is down: the next step is another port, not another start.
func TestAnotherProcessHasTheEnginesPort(t *testing.T) {
	e := enginetest.Start(t, enginetest.Options(t))
	other := enginetest.Start(t, enginetest.Options(t))
	own := e.Options()
	own.Timeout = 2 * time.Second

	for what, address := range map[string]string{"the engine of another platform": other.Address, "a server without TLS": enginetest.PlainFront(t, other)} {
		own.Address = address

		_, err := engine.Dial(t.Context(), own)
		if !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), "another process has the port") || !strings.Contains(err.Error(), "engine: {address: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestEmbeddedRefusals(t *testing.T) {
	o := enginetest.Options(t)
	e := enginetest.Start(t, o)

	_, err := engine.StartEmbedded(t.Context(), o)
	if !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), fmt.Sprint(e.Proc.Pid)) {
		t.Errorf("a second engine on the directory: %v", err)
	}

	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	defer func() { _ = l.Close() }()
	other := enginetest.Options(t)

	other.Port = l.Addr().(*net.TCPAddr).Port
	if _, err := engine.StartEmbedded(t.Context(), other); !fail.Is(err, fail.Conflict) {
		t.Errorf("a taken port: %v", err)
	}

	other = enginetest.Options(t)
	if err := os.WriteFile(filepath.Join(other.Dir, "engine.db"), []byte(strings.Repeat("rubbish ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}

	if _, err := engine.StartEmbedded(t.Context(), other); !fail.Is(err, fail.Corrupt) {
		t.Errorf("a damaged database: %v", err)
	}

	other.Bin = "/nonexistent"
	if _, err := engine.StartEmbedded(t.Context(), other); !fail.Is(err, fail.NotFound) {
		t.Errorf("no binary: %v", err)
	}

	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	if _, err := os.Stat(filepath.Join(o.Dir, "engine.json")); !os.IsNotExist(err) {
		t.Errorf("the ready file after an orderly stop: %v", err)
	}
}

// A parent that stops the engine closes its input and sends SIGTERM, and the
// engine may see the first long before the second: it ends in order all the same.
func TestEngineStopsInOrderWhenItsInputClosesBeforeTheSignal(t *testing.T) {
	o := enginetest.Options(t)
	cmd := exec.Command(o.Bin, append(o.Args(), "--log-level", "info")...)

	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}

	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}

	if err := proc.StartChild(cmd); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()

	for r := bufio.NewReader(stderr); ; {
		line, err := r.ReadString('\n')
		if strings.Contains(line, "engine ready") {
			_ = stdin.Close()
		}

		if strings.Contains(line, "engine stopping") {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}

		if err != nil {
			break
		}
	}

	if err := cmd.Wait(); err != nil {
		t.Errorf("it did not end in order: %v", err)
	}

	if _, err := os.Stat(filepath.Join(o.Dir, "engine.json")); !os.IsNotExist(err) {
		t.Errorf("the ready file after an orderly stop: %v", err)
	}
}

func TestEngineUnderASupervisor(t *testing.T) {
	o := enginetest.Options(t)

	s, err := supervise.New(supervise.Options{StateDir: t.TempDir(), Children: []supervise.Child{engine.Child("engine", o)}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())

	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()

	defer func() { cancel(); <-done }()

	if err := s.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	was := s.State().Children[0]
	_ = syscall.Kill(was.Pid, syscall.SIGKILL)
	waitFor(t, "restart", func() bool {
		now := s.State().Children[0]
		return now.Phase == supervise.Ready && now.Pid != was.Pid
	})

	now := s.State().Children[0]
	if now.Address != was.Address {
		t.Errorf("it moved from %s to %s", was.Address, now.Address)
	}

	c, err := engine.Dial(t.Context(), engine.Options{Address: now.Address, Dir: o.Dir})
	if err != nil {
		t.Fatal(err)
	}

	c.Close()
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()

	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}

	t.Fatalf("never happened: %s", what)
}
