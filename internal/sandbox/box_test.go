package sandbox_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

// TestMain runs the helper when the test binary is started again as one.
func TestMain(m *testing.M) {
	if root := os.Getenv("SANDBOX_TEST_OWNER"); root != "" {
		if err := ownBox(root); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}

		select {} // until it is killed
	}

	os.Exit(m.Run())
}

// ownBox owns a box with a detached and an attached server, and one more
// detached server that never gets into the record.
func ownBox(root string) error {
	ctx := context.Background()

	tools, err := servers.Find(servers.Binaries{})
	if err != nil {
		return err
	}

	box, err := sandbox.Create(ctx, sandbox.Options{Root: root, ID: "owned", Purpose: "test", Owner: os.Getpid()})
	if err != nil {
		return err
	}

	for _, s := range []struct {
		name             string
		detached, record bool
	}{{"attached", false, true}, {"detached", true, true}, {"unrecorded", true, false}} {
		p, err := tools.StartRedis(ctx, servers.RedisSpec{Name: s.name, Dir: filepath.Join(box.Dir(), s.name), Detached: s.detached})
		if err == nil && s.record {
			err = box.Add(p)
		}

		if err != nil {
			return err
		}

		fmt.Println(p.Pid, p.Start)
	}

	fmt.Println("ready")

	return nil
}

func TestBoxOfAKilledOwner(t *testing.T) {
	ctx := context.Background()
	root := filepath.Join(sandboxtest.Dir(t), "boxes")

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	owner := exec.Command(exe)
	owner.Env = append(os.Environ(), "SANDBOX_TEST_OWNER="+root)

	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}

	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = owner.Process.Kill() }()
	var procs []servers.Server

	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		var p servers.Server
		if _, err := fmt.Sscan(lines.Text(), &p.Pid, &p.Start); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		procs = append(procs, p)
		t.Cleanup(func() { _ = p.Kill() })
	}

	if len(procs) != 3 {
		t.Fatalf("the owner started %d servers", len(procs))
	}

	if removed, err := sandbox.Sweep(ctx, root, time.Now(), nil); err != nil || len(removed) != 0 {
		t.Fatalf("the box of a living owner: %v %v", removed, err)
	}

	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()

	waitGone(t, procs[0])

	if !procs[1].Alive() || !procs[2].Alive() {
		t.Fatal("a detached server did not outlive its owner")
	}
	// On a directory that hosts share, a process of another host is not known to be gone.
	rec := filepath.Join(root, "owned", "sandbox.json")

	mine, err := os.ReadFile(rec)
	if err != nil {
		t.Fatal(err)
	}

	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}

	theirs := strings.Replace(string(mine), fmt.Sprintf(`"host": %q`, host), `"host": "elsewhere"`, 1)
	if theirs == string(mine) {
		t.Fatalf("the record does not name the host: %s", mine)
	}

	for _, c := range []struct {
		rec  string
		want int
	}{{theirs, 0}, {string(mine), 1}} {
		if err := os.WriteFile(rec, []byte(c.rec), 0o644); err != nil {
			t.Fatal(err)
		}

		if removed, err := sandbox.Sweep(ctx, root, time.Now(), nil); err != nil || len(removed) != c.want {
			t.Fatal(removed, err)
		}
	}

	for _, p := range procs {
		if p.Alive() {
			t.Errorf("pid %d is left", p.Pid)
		}
	}

	if es, err := os.ReadDir(root); err != nil || len(es) != 0 {
		t.Errorf("left: %v %v", es, err)
	}
}

// A sandbox of a workflow goes when that has ended, unless it was kept.
func TestSweepOfEndedRuns(t *testing.T) {
	ctx := context.Background()
	root := t.TempDir()
	now := time.Now()
	make := func(id, run string) *sandbox.Box {
		b, err := sandbox.Create(ctx, sandbox.Options{Root: root, ID: id, Run: sandbox.Run{Workflow: "drill/nightly", ID: run}})
		if err != nil {
			t.Fatal(err)
		}

		return b
	}
	make("ended", "1")
	make("running", "2")

	for id, until := range map[string]time.Time{"kept": {}, "kept-for-an-hour": now.Add(time.Hour)} {
		if err := make(id, "1").Keep(until); err != nil {
			t.Fatal(err)
		}
	}

	ended := func(r sandbox.Run) bool { return r == sandbox.Run{Workflow: "drill/nightly", ID: "1"} }
	for _, c := range []struct {
		at    time.Time
		ended func(sandbox.Run) bool
		want  string
	}{{now, nil, "[]"}, {now, ended, "[ended]"}, {now, ended, "[]"}, {now.Add(time.Hour), ended, "[kept-for-an-hour]"}} {
		removed, err := sandbox.Sweep(ctx, root, c.at, c.ended)
		if err != nil || fmt.Sprint(removed) != c.want {
			t.Errorf("removed %v, want %s; %v", removed, c.want, err)
		}
	}
	// Its run keeps a sandbox, then ends, between the listing and the question.
	late := make("kept-late", "3")

	removed, err := sandbox.Sweep(ctx, root, now, func(r sandbox.Run) bool {
		if r.ID == "3" {
			if err := late.Keep(time.Time{}); err != nil {
				t.Error(err)
			}
		}

		return r.ID == "3"
	})
	if err != nil || len(removed) > 0 {
		t.Errorf("removed %v, which has been kept; %v", removed, err)
	}
}

func waitGone(t *testing.T, p servers.Server) {
	t.Helper()

	for end := time.Now().Add(2 * time.Minute); p.Alive(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("pid %d is still there", p.Pid)
		}
	}
}

func TestBoxResetAndRemove(t *testing.T) {
	ctx := context.Background()
	tools := sandboxtest.Tools(t)
	root := sandboxtest.Dir(t)
	opt := sandbox.Options{Root: root, ID: "b", Purpose: "test"}

	box, err := sandbox.Create(ctx, opt)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := sandbox.Create(ctx, opt); !fail.Is(err, fail.Conflict) {
		t.Errorf("made twice: %v", err)
	}

	var procs []servers.Server
	for _, name := range []string{"one", "two"} {
		p, err := tools.StartRedis(ctx, servers.RedisSpec{Dir: filepath.Join(box.Dir(), name, "data"), Detached: true})
		if err != nil {
			t.Fatal(err)
		}

		t.Cleanup(func() { _ = p.Kill() })

		if err := box.Add(p); err != nil {
			t.Fatal(err)
		}
		procs = append(procs, p)
	}

	if err := box.Reset(ctx, "one"); err != nil {
		t.Fatal(err)
	}

	if procs[0].Alive() || !procs[1].Alive() {
		t.Fatalf("one runs: %v, two runs: %v", procs[0].Alive(), procs[1].Alive())
	}

	if _, err := os.Stat(filepath.Join(box.Dir(), "one")); !os.IsNotExist(err) {
		t.Error(err)
	}

	if err := box.Reset(ctx, "../b"); !fail.Is(err, fail.Invalid) {
		t.Error(err)
	}

	if err := box.Reset(ctx, "../other"); !fail.Is(err, fail.Invalid) {
		t.Errorf("outside the box: %v", err)
	}

	again, err := sandbox.Open(box.Dir()) // as another process, from the record alone
	if err != nil {
		t.Fatal(err)
	}

	for range 2 {
		if err := again.Remove(ctx); err != nil {
			t.Fatal(err)
		}
	}

	if procs[1].Alive() {
		t.Error("a server is left")
	}

	if _, err := os.Stat(box.Dir()); !os.IsNotExist(err) {
		t.Error(err)
	}
}

func TestRemoveRefusesWhatItDidNotMake(t *testing.T) {
	dir := sandboxtest.Dir(t)

	mine := filepath.Join(dir, "precious")
	if err := os.WriteFile(mine, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}

	if _, err := sandbox.Open(dir); !fail.Is(err, fail.NotFound) {
		t.Errorf("a directory without a record was opened: %v", err)
	}

	box, err := sandbox.Create(context.Background(), sandbox.Options{Root: filepath.Join(dir, "boxes"), ID: "a"})
	if err != nil {
		t.Fatal(err)
	}

	moved := filepath.Join(dir, "boxes", "moved")
	if err := os.Rename(box.Dir(), moved); err != nil {
		t.Fatal(err)
	}

	if _, err := sandbox.Open(moved); err == nil {
		t.Error("a box that was renamed was opened")
	}

	if _, err := sandbox.Sweep(context.Background(), dir, time.Now(), nil); err != nil {
		t.Error(err)
	}

	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

func TestStartErrors(t *testing.T) {
	ctx := context.Background()
	tools := sandboxtest.Tools(t)
	dir := sandboxtest.Dir(t)
	t.Run("port taken", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}

		defer func() { _ = l.Close() }()
		port := l.Addr().(*net.TCPAddr).Port

		_, err = tools.StartRedis(ctx, servers.RedisSpec{Dir: filepath.Join(dir, "r"), Port: port})
		if !fail.Is(err, fail.Conflict) {
			t.Errorf("redis: %v", err)
		}

		_, err = tools.StartS3(ctx, servers.S3Spec{Dir: filepath.Join(dir, "s"), Port: port, AccessKey: "a", SecretKey: targets.NewSecret("hidden-secret")})
		if !fail.Is(err, fail.Conflict) || strings.Contains(err.Error(), "hidden-secret") {
			t.Errorf("s3: %v", err)
		}
		pg := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
		_, pgPort, _ := strings.Cut(pg.Address, ":")

		var n int
		if _, err := fmt.Sscan(pgPort, &n); err != nil {
			t.Fatal(err)
		}

		if _, err = tools.StartRedis(ctx, servers.RedisSpec{Dir: filepath.Join(dir, "r2"), Port: n}); !fail.Is(err, fail.Conflict) {
			t.Errorf("redis on the port of postgres: %v", err)
		}
		// A second server on a running data directory.
		if _, err = tools.StartPostgres(ctx, servers.PostgresSpec{Dir: pg.DataDir}); !fail.Is(err, fail.Conflict) {
			t.Error("two servers on one data directory")
		}
	})
	t.Run("bad setting, with the log's end", func(t *testing.T) {
		_, err := tools.StartRedis(ctx, servers.RedisSpec{Dir: filepath.Join(dir, "bad"), Settings: map[string]string{"no-such-setting": "1"}})
		if err == nil || !strings.Contains(err.Error(), "no-such-setting") {
			t.Error(err)
		}
	})
	t.Run("not a data directory", func(t *testing.T) {
		empty := filepath.Join(dir, "empty")
		if err := os.MkdirAll(empty, 0o700); err != nil {
			t.Fatal(err)
		}

		if err := tools.RunAs.Own(empty); err != nil {
			t.Fatal(err)
		}

		if _, err := tools.StartPostgres(ctx, servers.PostgresSpec{Dir: empty}); err == nil || !strings.Contains(err.Error(), "log ends with") {
			t.Error(err)
		}
	})
	t.Run("missing programs name their package", func(t *testing.T) {
		var none servers.Binaries

		_, err := none.StartRedis(ctx, servers.RedisSpec{Dir: filepath.Join(dir, "x")})
		if !fail.Is(err, fail.NotFound) || !strings.Contains(err.Error(), "redis-server") {
			t.Error(err)
		}

		if err := none.InitPostgres(ctx, servers.PostgresSpec{Dir: filepath.Join(dir, "x")}); !fail.Is(err, fail.NotFound) && !strings.Contains(fmt.Sprint(err), "run_as") {
			t.Error(err)
		}

		if _, err := servers.Find(servers.Binaries{RedisServer: filepath.Join(dir, "nothing")}); !fail.Is(err, fail.NotFound) {
			t.Error(err)
		}
	})
	t.Run("a directory that the servers' user cannot enter", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Log("an ordinary user's servers are its own; nothing to refuse")
			return
		}

		private := filepath.Join(dir, "private")
		if err := os.Mkdir(private, 0o700); err != nil {
			t.Fatal(err)
		}

		_, err := tools.StartRedis(ctx, servers.RedisSpec{Dir: filepath.Join(private, "r")})
		if !fail.Is(err, fail.Denied) || !strings.Contains(err.Error(), "chmod o+x") {
			t.Error(err)
		}
	})
}

// A full disk is named as such, by initdb and by a running start.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can mount a small file system; the mapping of errors is the same")
		return
	}

	dir := filepath.Join(sandboxtest.Dir(t), "small")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}

	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m,mode=755"); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})

	err := sandboxtest.Tools(t).InitPostgres(context.Background(), servers.PostgresSpec{Dir: filepath.Join(dir, "pg"), User: "drctl",
		Password: targets.NewSecret("hidden-secret"), NoSync: true})
	if !fail.Is(err, fail.Exhausted) || strings.Contains(err.Error(), "hidden-secret") {
		t.Error(err)
	}
	_ = os.RemoveAll(filepath.Join(dir, "pg"))
	// A sandbox that filled its volume can be removed all the same, and its
	// server with it.
	tools := sandboxtest.Tools(t)

	b, err := sandbox.Create(context.Background(), sandbox.Options{Root: filepath.Join(dir, "boxes"), ID: "full", Purpose: "restore",
		Run: sandbox.Run{Workflow: "restore/20261125T000000Z-abcdef0123456789", ID: "00000000-0000-0000-0000-000000000000"}})
	if err != nil {
		t.Fatal(err)
	}

	p, err := tools.StartRedis(context.Background(), servers.RedisSpec{Dir: filepath.Join(b.Dir(), "r", "data"), Detached: true})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = p.Kill() })

	if err := b.Add(p); err != nil {
		t.Fatal(err)
	}

	fillUp(t, filepath.Join(b.Dir(), "filler"))
	// So it can be kept: what was restored is not lost for want of a kilobyte.
	if err := b.Keep(time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}

	if again, err := sandbox.Open(b.Dir()); err != nil || again.Expires().IsZero() {
		t.Errorf("%+v %v", again, err)
	}

	if err := b.Remove(context.Background()); err != nil {
		t.Error(err)
	}

	if _, err := os.Stat(b.Dir()); !errors.Is(err, os.ErrNotExist) || p.Alive() {
		t.Errorf("left: %v, server alive: %v", err, p.Alive())
	}
}

// fillUp writes until the volume is full.
func fillUp(t *testing.T, file string) {
	t.Helper()

	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestStopAndKill(t *testing.T) {
	ctx := context.Background()
	var p servers.Server
	sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Proc: &p})
	reused := p

	reused.Start++
	if reused.Alive() || !errors.Is(reused.Signal(syscall.SIGKILL), os.ErrProcessDone) {
		t.Fatal("another process with the same pid would have been signalled")
	}

	if err := reused.Kill(); err != nil || !p.Alive() {
		t.Fatal(err, p.Alive())
	}

	children := func() (n int) {
		dirs, _ := filepath.Glob("/proc/[0-9]*/cwd")
		for _, d := range dirs {
			if cwd, err := os.Readlink(d); err == nil && strings.TrimSuffix(cwd, " (deleted)") == p.Dir {
				n++
			}
		}

		return n
	}
	if children() < 3 {
		t.Fatalf("%d processes", children())
	}

	if err := p.Signal(syscall.SIGSTOP); err != nil || !p.Alive() {
		t.Fatal("a frozen server is alive", err)
	}

	if err := p.Stop(ctx); err != nil || p.Alive() {
		t.Fatal("a frozen server was not stopped", err)
	}

	for range 2 { // what is gone is no error
		if err := errors.Join(p.Stop(ctx), p.Kill()); err != nil {
			t.Fatal(err)
		}
	}
	var q servers.Server
	sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Proc: &q})

	p = q
	if err := p.Kill(); err != nil || p.Alive() || children() != 0 {
		t.Fatalf("%v, %d processes are left", err, children())
	}
}
