package guarding

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"drctl/config"
	"drctl/internal/fail"
)

// beside is a worker's on host pg0, with a program in the guard's place that notes each
// of its lives, and ends when it is told to.
func beside(t *testing.T, witness string) (b Beside, lives string) {
	t.Helper()

	dir := t.TempDir()
	lives = filepath.Join(dir, "lives")

	script := filepath.Join(dir, "guard.sh")
	if err := os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\ntrap 'echo told $$ >> %[1]s; exit 0' TERM\necho $$ \"$@\" >> %[1]s\nwhile :; do sleep 0.05; done\n", lives), 0o755); err != nil {
		t.Fatal(err)
	}

	cfg, err := config.Parse(fmt.Appendf(nil, `version: 1
name: small
state_dir: %[1]s/state
key: {file: %[1]s/key}
regions:
  east: {vault: {url: "file://%[1]s/east"}}
  west: {vault: {url: "file://%[1]s/west"}}
%[2]s
targets:
  orders:
    kind: postgres
    database: shop
    user: drctl
    shards:
      "0":
        east: {address: "127.0.0.1:1", role: primary, host: pg0}
        west: {address: "127.0.0.1:2", role: standby}
groups:
  shop: {targets: [orders]}
`, dir, witness), "small.yaml")
	if err != nil {
		t.Fatal(err)
	}

	return Beside{Config: cfg, Region: "east", Host: "pg0", ConfigFile: "small.yaml", LogLevel: "info", Log: slog.New(slog.DiscardHandler), Program: script}, lives
}

// lines are those of a file, once there are so many.
func lines(t *testing.T, file string, n int) []string {
	t.Helper()

	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		b, _ := os.ReadFile(file)
		if ls := strings.Split(strings.TrimSpace(string(b)), "\n"); len(ls) >= n && ls[0] != "" {
			return ls
		}

		if time.Now().After(end) {
			t.Fatalf("%d lines never come:\n%s", n, b)
		}
	}
}

func pid(t *testing.T, line string) int {
	t.Helper()

	n, err := strconv.Atoi(strings.Fields(line)[0])
	if err != nil {
		t.Fatal(err)
	}

	return n
}

func TestAGuardStandsAsLongAsItsWorker(t *testing.T) {
	t.Parallel()

	b, lives := beside(t, `witness: {url: "file:///srv/witness"}`)
	stop := b.Start(t.Context(), make(chan error, 1))

	first := lines(t, lives, 1)[0]
	if !strings.HasSuffix(first, "guard --region east --group shop --host pg0") {
		t.Errorf("it was called with %s", first)
	}

	// A worker that was killed has left it: the next one starts no second.
	next, again := context.WithCancel(t.Context())

	ended := make(chan struct{})
	go func() {
		defer close(ended)

		b.keep(next, b.Program, "shop")
	}()

	time.Sleep(3 * guardAgain / 2)

	if ls := lines(t, lives, 1); len(ls) != 1 {
		t.Errorf("two guards of one host: %q", ls)
	}

	again()
	<-ended

	// One that died is started again.
	if err := syscall.Kill(pid(t, first), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := lines(t, lives, 2)[1]

	// Told to end, it has ended before the worker has.
	stop()

	if got, want := lines(t, lives, 3)[2], fmt.Sprintf("told %d", pid(t, second)); got != want {
		t.Errorf("%q, want %q", got, want)
	}

	if err := syscall.Kill(pid(t, second), 0); err == nil {
		t.Error("it is still there")
	}
}

func TestNothingToGuardIsSaid(t *testing.T) {
	t.Parallel()

	b, _ := beside(t, "")
	if err := b.Run(t.Context()); !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), "witness") {
		t.Errorf("without a witness: %v", err)
	}

	b, _ = beside(t, `witness: {url: "file:///srv/witness"}`)
	b.Host = "elsewhere"

	if err := b.Run(t.Context()); !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), "host") {
		t.Errorf("on a host without servers: %v", err)
	}
}
