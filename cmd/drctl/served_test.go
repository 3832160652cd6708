package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// eventuallySays waits until a command has printed the words.
func (l *lockedBuffer) eventuallySays(t *testing.T, words string) {
	t.Helper()

	for end := time.Now().Add(3 * time.Minute); !strings.Contains(l.String(), words); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never says %q:\n%s", words, l)
		}
	}
}

// A command that waits for a region without a worker says so at once, and an
// interrupt ends it although nothing can clean up.
func TestWaitingForARegionThatNobodyServes(t *testing.T) {
	file, _ := vaultsOnly(t, outside(t))

	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out bytes.Buffer
	errs := &lockedBuffer{}
	root := newApp(&out, errs).root()
	root.SetArgs([]string{"--config", file, "backup", "now"})

	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()

	errs.eventuallySays(t, "nobody serves drctl.small.east, which small:backup/shop waits for; start: drctl worker --region east")
	interrupt()

	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}

	for _, w := range []string{"cancelling small:backup/shop and cleaning up; press again to leave it to the engine", "left small:backup/shop to the engine", "a worker serves drctl.small.east"} {
		if !strings.Contains(errs.String(), w) {
			t.Errorf("it does not say %q:\n%s", w, errs)
		}
	}

	if n := strings.Count(errs.String(), "nobody serves"); n != 1 {
		t.Errorf("it says %d times that nobody serves:\n%s", n, errs)
	}
}

// With --log-format json what a waiting command says beside its answer is
// records too; the other name of cut is the same command.
func TestWaitingSaysRecords(t *testing.T) {
	file, _ := vaultsOnly(t, outside(t))

	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	errs := &lockedBuffer{}
	root := newApp(&bytes.Buffer{}, errs).root()
	root.SetArgs([]string{"--config", file, "--log-format", "json", "recovery-point", "now"})

	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()

	errs.eventuallySays(t, "nobody serves drctl.small.east")
	interrupt()

	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}

	if !strings.Contains(errs.String(), "goes on in the engine") {
		t.Errorf("it does not say what becomes of the cut:\n%s", errs)
	}

	for line := range strings.Lines(errs.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not a record: %s", line)
		}
	}
}
