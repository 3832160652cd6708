package planting

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/proc"
)

// frozenWithin is how long all processes of a server have to stop, or to go on.
const frozenWithin = 10 * time.Second

// ready says why a fault cannot be planted here, or could not be taken away again. Nothing is touched.
func (k *Keeper) ready(f Fault) error {
	runnable := func(argv []string) error {
		if len(argv) == 0 || k.Runnable == nil {
			return nil
		}

		return k.Runnable(argv)
	}

	if f.Do == "exec" {
		if len(f.Exec) == 0 || len(f.Undo) == 0 {
			return fail.Newf(fail.Invalid, op, f.ID, "it does not name what plants it and what takes it away")
		}

		return errors.Join(runnable(f.Undo), runnable(f.Exec))
	}

	if len(residents(f.Dir)) == 0 {
		return fail.Newf(fail.NotFound, op, f.Dir, "no server runs there")
	}

	return runnable(f.Start)
}

// over says by what it is seen that a planted fault has ended by itself; "" when it is still there, or cannot be seen.
func over(f Fault) string {
	if f.Planted.IsZero() || f.Do == "exec" {
		return ""
	}
	all := residents(f.Dir)

	switch {
	case f.Do == "kill" && len(all) > 0:
		return "somebody has started the server"
	case f.Do == "kill" || slices.ContainsFunc(all, func(r proc.Resident) bool { return stopped(r.Pid) }):
		return ""
	case len(all) == 0:
		return "the server has ended"
	}

	return "somebody has let its processes go on"
}

// do plants a fault and says what it did.
func (k *Keeper) do(ctx context.Context, f Fault) (words string, err error) {
	switch f.Do {
	case "exec":
		return k.Program(ctx, f.ID, f.Exec)
	case "kill":
		return kill(f.Dir)
	case "stop":
		return freeze(ctx, f.Dir, func(string) bool { return true })
	case "mute":
		return freeze(ctx, f.Dir, titled("walreceiver"))
	case "stall":
		return freeze(ctx, f.Dir, titled("startup"))
	}

	return "", fail.Newf(fail.Unsupported, op, f.ID, "this version cannot %s", f.Do)
}

// undo takes a fault away, whether it was planted or not. stays says what nobody may take
// away.
func (k *Keeper) undo(ctx context.Context, f Fault) (stays string, err error) {
	if f.Untouched {
		return "", nil
	}

	switch f.Do {
	case "exec":
		_, err = k.Program(ctx, f.ID, f.Undo)
		return "", err
	case "stop", "mute", "stall":
		return "", thaw(ctx, f.Dir)
	}

	if len(residents(f.Dir)) > 0 {
		return "", nil // somebody has started it, or it was never killed
	}

	// A server that would come up as a standby does no harm.
	if _, err := os.Stat(filepath.Join(f.Dir, "standby.signal")); err != nil {
		if err := k.MayStart(ctx, f); fail.Is(err, fail.Conflict) {
			return "it is not started again: " + fail.Cause(err), nil
		} else if err != nil {
			return "", err
		}
	}

	if _, err := os.Stat(filepath.Join(f.Dir, "PG_VERSION")); errors.Is(err, os.ErrNotExist) {
		return "its data directory is gone", nil
	}

	return "", k.Start(ctx, f)
}

// residents are the processes of a server, the first of them first.
func residents(dir string) []proc.Resident {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil
	}

	var out []proc.Resident
	for _, r := range proc.In(real, "postgres", "postmaster") {
		if r.Dir == real {
			out = append(out, r)
		}
	}

	return out
}

// title is what a process calls itself.
func title(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimRight(strings.ReplaceAll(string(b), "\x00", " "), " ")
}

// titled finds a process of a server by what it does: "postgres: startup recovering ...",
// with the cluster's name between where it has one. The word is whole: a role may be called startup_reader.
func titled(what string) func(string) bool {
	return func(s string) bool {
		rest, ok := strings.CutPrefix(s, "postgres: ")
		return ok && (strings.HasPrefix(rest+" ", what+" ") || strings.Contains(rest+" ", ": "+what+" "))
	}
}

// state is the state of a process by the kernel, such as "T" for stopped; "" when it is gone.
func state(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	s := string(b)

	i := strings.LastIndexByte(s, ')')
	if i < 0 || len(s) < i+3 {
		return ""
	}

	return s[i+2 : i+3]
}

func stopped(pid int) bool { s := state(pid); return s == "T" || s == "t" }

// freeze stops the processes of a server that are meant, and waits until they are. New ones that
// come meanwhile are stopped too.
func freeze(ctx context.Context, dir string, meant func(title string) bool) (words string, err error) {
	for end := time.Now().Add(frozenWithin); ; {
		n, running := 0, 0

		for _, r := range residents(dir) {
			if !meant(title(r.Pid)) {
				continue
			}

			n++

			if stopped(r.Pid) {
				continue
			}

			running++

			if err := r.Signal(syscall.SIGSTOP); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return "", fail.New(fail.Denied, op, dir, "run the worker as root or as the user of the server", err)
			}
		}

		switch {
		case n > 0 && running == 0:
			return fmt.Sprintf("%s of %s frozen", human.Plural(n, "process"), dir), nil
		case time.Now().After(end) && n == 0:
			return "", fail.Newf(fail.NotFound, op, dir, "no such process of a server runs there")
		case time.Now().After(end):
			return "", fail.Newf(fail.Stalled, op, dir, "%d of %d processes are not frozen", running, n)
		}

		if err := pause(ctx); err != nil {
			return "", err
		}
	}
}

// thaw lets all processes of a server go on, and waits until none is stopped.
func thaw(ctx context.Context, dir string) error {
	for end := time.Now().Add(frozenWithin); ; {
		n := 0

		for _, r := range residents(dir) {
			if !stopped(r.Pid) {
				continue
			}

			n++

			if err := r.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fail.New(fail.Denied, op, dir, "run it as root or as the user of the server", err)
			}
		}

		if n == 0 {
			return nil
		}

		if time.Now().After(end) {
			return fail.Newf(fail.Stalled, op, dir, "%d processes are still frozen", n)
		}

		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Millisecond):
		return nil
	}
}

// kill ends all processes of a server at once, as the end of its host does.
func kill(dir string) (words string, err error) {
	all := residents(dir)
	if len(all) == 0 {
		return "", fail.Newf(fail.NotFound, op, dir, "no server runs there")
	}

	for end := time.Now().Add(frozenWithin); ; time.Sleep(10 * time.Millisecond) {
		left := residents(dir)
		if len(left) == 0 {
			return fmt.Sprintf("killed %s of %s", human.Plural(len(all), "process"), dir), nil
		}

		if time.Now().After(end) {
			return "", fail.Newf(fail.Stalled, op, dir, "%s of the server have come back or do not end", human.Plural(len(left), "process"))
		}

		for _, r := range left {
			if err := r.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return "", fail.New(fail.Denied, op, dir, "run the worker as root or as the user of the server", err)
			}
		}
	}
}
