package proc

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"
)

func TestGoneWaitsForTheEndOfAProcess(t *testing.T) {
	t.Parallel()

	cmd := exec.Command("sleep", "600")
	if err := Start(cmd); err != nil {
		t.Fatal(err)
	}

	id, err := Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()

	if err := id.Gone(ctx); !errors.Is(err, context.DeadlineExceeded) || !id.Alive() {
		t.Fatalf("while it runs: %v", err)
	}

	done := make(chan error, 1)
	go func() { done <- id.Gone(t.Context()) }()

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}

	// Nobody has collected it yet.
	if err := <-done; err != nil || id.Alive() {
		t.Errorf("when it has ended: %v", err)
	}
	_ = cmd.Wait()

	if err := id.Gone(t.Context()); err != nil {
		t.Errorf("long after: %v", err)
	}

	if err := (ID{}).Gone(t.Context()); err != nil {
		t.Errorf("of no process: %v", err)
	}
}
