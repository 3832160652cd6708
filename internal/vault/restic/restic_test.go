package restic

import (
	"context"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// newRepo makes a repository from a seed, as the vault does.
func newRepo(t *testing.T) *Repo {
	t.Helper()
	r := &Repo{Bin: sandboxtest.Tools(t).ResticBin, Location: filepath.Join(t.TempDir(), "repo"), Password: targets.NewSecret("pw"), TempDir: t.TempDir()}

	s, err := r.NewSeed(context.Background())
	if err != nil {
		t.Fatal(err)
	}

	for name, b := range map[string][]byte{"config": s.Config, "keys/" + s.KeyName: s.Key} {
		p := filepath.Join(r.Location, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}

		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	return r
}

func TestOnlyVanished(t *testing.T) {
	gone := itemError{"/d/a", "incomplete metadata for /d/a: xattr.list /d/a: no such file or directory"}

	refused := itemError{"/d/b", "open /d/b: permission denied"}
	for _, c := range []struct {
		items []itemError
		want  bool
	}{{[]itemError{gone}, true}, {[]itemError{gone, refused}, false}, {[]itemError{refused}, false}, {nil, false}} {
		if got := (result{items: c.items}).onlyVanished(); got != c.want {
			t.Fatalf("%+v: %v", c.items, got)
		}
	}
}

// fake is a restic that prints and exits as told.
func fake(t *testing.T, stdout, stderr string, exit int) *Repo {
	t.Helper()
	p := filepath.Join(t.TempDir(), "restic")

	script := "#!/bin/sh\ncat <<'E'\n" + stdout + "\nE\ncat >&2 <<'E'\n" + stderr + "\nE\nexit " + strconv.Itoa(exit) + "\n"
	if err := os.WriteFile(p, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}

	return &Repo{Bin: p, Location: "/repo", TempDir: t.TempDir()}
}

func TestExitCodes(t *testing.T) {
	ctx := context.Background()

	exitError := func(m string) string { return `{"message_type":"exit_error","code":1,"message":"Fatal: ` + m + `"}` }
	for _, c := range []struct {
		stderr string
		exit   int
		code   fail.Code
	}{
		{exitError("unable to save snapshot: write: no space left on device"), 1, fail.Exhausted},
		{exitError("Access Denied."), 1, fail.Denied},
		{exitError("dial tcp 127.0.0.1:1: connect: connection refused"), 1, fail.Unavailable},
		{exitError("LoadRaw(<index/1>): invalid data returned"), 1, fail.Corrupt},
		{exitError("something new"), 1, fail.Unavailable},
		{exitError("repository does not exist"), 10, fail.NotFound},
		{exitError("unable to create lock"), 11, fail.Stalled},
		{exitError("wrong password"), 12, fail.Denied},
		{"interrupted", 130, fail.Unavailable},
	} {
		err := fake(t, "", c.stderr, c.exit).Restore(ctx, Restore{Snapshot: strings.Repeat("5", 64), Path: "/p", Dir: t.TempDir()})
		if !fail.Is(err, c.code) || !strings.Contains(err.Error(), "/repo") {
			t.Fatalf("exit %d, %s: %v", c.exit, c.stderr, err)
		}
	}
	// An incomplete backup is refused, and tolerated only where it was expected.
	summary := `{"message_type":"summary","snapshot_id":"abc","total_bytes_processed":7}`
	gone := `{"message_type":"error","error":{"message":"open /d/x: no such file or directory"},"during":"archival","item":"/d/x"}`
	refused := `{"message_type":"error","error":{"message":"open /d/y: input/output error"},"during":"archival","item":"/d/y"}`

	dir := t.TempDir()
	if s, err := fake(t, summary, gone, 3).Backup(ctx, Backup{Dir: dir, Vanishing: true}); err != nil || s.Snapshot != "abc" || s.Bytes != 7 {
		t.Fatal(s, err)
	}

	if _, err := fake(t, summary, gone, 3).Backup(ctx, Backup{Dir: dir}); err == nil {
		t.Fatal("an incomplete backup passed")
	}

	_, err := fake(t, summary, gone+"\n"+refused, 3).Backup(ctx, Backup{Dir: dir, Vanishing: true})
	if err == nil || !strings.Contains(err.Error(), "/d/y") {
		t.Fatalf("an unreadable file passed: %v", err)
	}
}

// TestStaleLock: the exclusive lock of a killed restic does not stop a backup.
func TestStaleLock(t *testing.T) {
	ctx := context.Background()
	r := newRepo(t)

	dir := t.TempDir()
	if err := os.WriteFile(dir+"/f", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}

	if _, err := r.Backup(ctx, Backup{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	prune := holdLock(t, r)
	_ = prune.Process.Kill()

	_ = prune.Wait()
	if _, err := r.Backup(ctx, Backup{Dir: dir}); err != nil {
		t.Fatal(err)
	}
}

// holdLock is a prune that stands still while it holds the exclusive lock.
func holdLock(t *testing.T, r *Repo) *exec.Cmd {
	t.Helper()

	locks := func() int { // whole ones
		l, _ := filepath.Glob(filepath.Join(r.Location, "locks", strings.Repeat("[0-9a-f]", 64)))
		return len(l)
	}
	for range 50 {
		cmd := exec.Command(r.Bin, append(r.base(), "prune", "--repack-cacheable-only=false")...)

		cmd.Env = r.env()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}

		for end := time.Now().Add(10 * time.Second); locks() == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}

		_ = cmd.Process.Signal(syscall.SIGSTOP)
		if locks() > 0 {
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})

			return cmd
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}

	t.Fatal("no prune could be stopped while it held its lock")

	return nil
}

// TestReadsPassLocks: an exclusive lock that cannot be told from a live one,
// such as that of a prune on a host that is gone, does not stop a recovery, and
// reading leaves nothing in the repository.
func TestReadsPassLocks(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r := newRepo(t)

	dir := t.TempDir()
	if err := os.WriteFile(dir+"/f", []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}

	sum, err := r.Backup(ctx, Backup{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}

	holdLock(t, r)
	before := files(t, r.Location)

	out := filepath.Join(t.TempDir(), "out")
	if err := r.Restore(ctx, Restore{Snapshot: sum.Snapshot, Path: dir, Dir: out}); err != nil {
		t.Fatal(err)
	}

	if b, err := os.ReadFile(out + "/f"); err != nil || string(b) != "content" {
		t.Fatal(b, err)
	}

	d, err := r.Dump(ctx, sum.Snapshot, dir+"/f")
	if err != nil {
		t.Fatal(err)
	}

	if b, err := io.ReadAll(d); err != nil || string(b) != "content" {
		t.Fatal(b, err)
	}

	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	if list, err := r.Snapshots(ctx); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}

	if rep, err := r.Check(ctx, Check{ReadData: "100%"}); err != nil || len(rep.Problems) > 0 {
		t.Fatal(rep, err)
	}

	if after := files(t, r.Location); !slices.Equal(before, after) {
		t.Fatalf("reading wrote: %q, then %q", before, after)
	}
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()

	if err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		names = append(names, p)
		return err
	}); err != nil {
		t.Fatal(err)
	}

	return names
}

// TestChildDiesWithParent kills the process that runs restic.
func TestChildDiesWithParent(t *testing.T) {
	if loc := os.Getenv("DRCTL_TEST_PARENT"); loc != "" { // the process to be killed
		r := &Repo{Bin: os.Getenv("DRCTL_TEST_RESTIC"), Location: loc, Password: targets.NewSecret("pw")}
		_, _ = r.BackupStream(context.Background(), Stream{Name: "x", Reader: forever{}})

		return
	}
	r := newRepo(t)
	parent := exec.Command(os.Args[0], "-test.run", "^TestChildDiesWithParent$")

	parent.Env = append(os.Environ(), "DRCTL_TEST_PARENT="+r.Location, "DRCTL_TEST_RESTIC="+r.Bin)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}

	child := 0
	for end := time.Now().Add(2 * time.Minute); child == 0 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		child = find(r.Location, parent.Process.Pid)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()

	if child == 0 {
		t.Fatal("restic did not start")
	}

	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if syscall.Kill(child, 0) != nil || find(r.Location, 0) == 0 {
			if list, err := r.Snapshots(context.Background()); err != nil || len(list) != 0 {
				t.Fatal(list, err)
			}

			return
		}
	}

	t.Fatal("restic outlived its parent")
}

type forever struct{}

func (forever) Read([]byte) (int, error) { select {} }

// find is the pid of the restic that works on the location, other than not.
func find(location string, not int) int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if strings.Contains(string(b), "\x00"+location+"\x00") {
			if pid, _ := strconv.Atoi(strings.Split(f, "/")[2]); pid != not {
				return pid
			}
		}
	}

	return 0
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		a    string
		want bool
	}{{"0.19.0", true}, {"0.19.1", false}, {"0.9.9", true}, {"0.20.0", false}, {"1.0.0", false}, {"0.19.1-dev", false}, {"", true}} {
		if older(c.a, MinVersion) != c.want {
			t.Fatal(c.a)
		}
	}
}
