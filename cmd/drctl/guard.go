package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/internal/retry"
	"drctl/internal/sandbox"
)

// A command with an engine of its own owns its sandboxes, whose servers outlive
// it. The guard is a process beside it that removes them when it is killed. When
// the guard is gone too, as after a reboot, the next command sweeps.

// startGuard starts the guard of this process's sandboxes below the roots. It
// is in a session of its own, so that what ends this process leaves it alone,
// and it ends by itself soon after this process.
func startGuard(roots ...string) error {
	const op = "sandbox: guard"

	self, err := os.Executable()
	if err != nil {
		return fail.New(fail.Internal, op, "drctl", "", err)
	}

	id, err := proc.Self()
	if err != nil {
		return fail.New(fail.Internal, op, "drctl", "", err)
	}

	args := []string{"sandbox", "guard", "--pid", strconv.Itoa(id.Pid), "--start", strconv.FormatUint(id.Start, 10)}
	for _, root := range roots {
		if root, err = filepath.Abs(root); err != nil {
			return fail.New(fail.Internal, op, root, "", err)
		}
		args = append(args, "--dir", root)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = []string{} // no secrets of ours

	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fail.New(fail.Unavailable, "sandbox: guard", self, "", err)
	}

	go func() { _ = cmd.Wait() }() // it outlives us, unless somebody ends it

	return nil
}

func guardCmd() *cobra.Command {
	var roots []string
	var owner proc.ID
	c := &cobra.Command{
		Use: "guard", Short: "Remove a process's sandboxes when it ends", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return guard(cmd.Context(), roots, owner) },
	}
	c.Flags().StringArrayVar(&roots, "dir", nil, "directory of sandboxes; may be repeated")
	c.Flags().IntVar(&owner.Pid, "pid", 0, "the process")
	c.Flags().Uint64Var(&owner.Start, "start", 0, "its start time in clock ticks since boot")

	return c
}

// guard waits for the owner's end and sweeps. What the owner's own children
// still write while they end is why it tries more than once.
func guard(ctx context.Context, roots []string, owner proc.ID) error {
	const every, limit = 200 * time.Millisecond, 30 * time.Second
	for owner.Alive() {
		if err := retry.Sleep(ctx, every); err != nil {
			return err
		}
	}

	return retry.Do(ctx, retry.Policy{First: every, For: limit, If: retry.Any}, func() (err error) {
		for _, root := range roots {
			_, e := sandbox.Sweep(ctx, root, time.Now(), nil)
			err = errors.Join(err, e)
		}

		return err
	})
}

// enginesDir is where commands with an engine of their own keep its database,
// away from the sandboxes, which may fill their volume.
func enginesDir(state string) string { return filepath.Join(state, "engines") }

// sweep removes the sandboxes below the roots that killed commands left and
// those whose time is up. What cannot be removed is a warning: it is not what
// the command was asked for.
func (a *app) sweep(ctx context.Context, roots ...string) {
	for _, root := range roots {
		removed, err := sandbox.Sweep(ctx, root, time.Now(), nil)
		for _, id := range removed {
			a.say(slog.LevelInfo, "removed sandbox %s: its time was up, or the command that it belonged to is gone", id)
		}

		if err != nil {
			a.say(slog.LevelWarn, "a sandbox that nobody needs could not be removed: %v", err)
		}
	}
}
