package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/internal/trust"
	"drctl/targets"
)

// ExecSpec is a route that programs move.
type ExecSpec struct {
	Spec
	// Commands are program and arguments by hook. The program is an absolute path.
	Commands map[string][]string
	// Env are further variables of their environment.
	Env map[string]targets.Secret
}

// NewExec checks a route's configuration. It starts nothing.
func NewExec(s ExecSpec) (*Driver, error) {
	const op = "traffic: exec"
	for hook, argv := range s.Commands {
		if !slices.Contains(Hooks, hook) || len(argv) == 0 || !filepath.IsAbs(argv[0]) {
			return nil, fail.Newf(fail.Invalid, op, s.Route.String(), "hook %q: it needs the absolute path of a program", hook)
		}

		if err := trust.Program(op, argv[0]); err != nil {
			return nil, err
		}
	}

	return newDriver(s.Spec, programs{s})
}

type programs struct{ ExecSpec }

func (p programs) has(hook string) bool { return len(p.Commands[hook]) > 0 }

func (p programs) close() {}

func (p programs) secrets() []targets.Secret { return slices.Collect(maps.Values(p.Env)) }

// run starts the program in a process group of its own and ends all of that with it.
func (p programs) run(ctx context.Context, c call) (string, error) {
	argv := c.fill(p.Route.Name, p.Commands[c.hook])

	var out, errs bounded
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = "/", bytes.NewReader(c.state), &out, &errs
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
		"DRCTL_HOOK=" + c.hook, "DRCTL_ROUTE=" + p.Route.Name, "DRCTL_REGION=" + c.region, "DRCTL_WAS=" + c.was}
	cmd.WaitDelay = time.Second // for who has kept its output open

	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		cmd.Env = append(cmd.Env, name+"="+p.Env[name].Reveal())
	}

	if err := proc.StartChild(cmd); err != nil {
		return "", err
	}

	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stop := context.AfterFunc(ctx, kill)
	err := cmd.Wait()

	// What it left running is ended too: a hook that has answered is over.
	stop()
	kill()

	switch {
	case errors.Is(err, exec.ErrWaitDelay): // it has ended well, and left others who held its output
		err = nil
	case err != nil:
		return out.String() + " " + errs.String(), err
	}

	if out.over {
		err = fmt.Errorf("it printed more than %d KiB", maxOutput>>10)
	}

	return out.String(), err
}

// fill replaces what stands for words in arguments.
func (c call) fill(route string, argv []string) []string {
	words := strings.NewReplacer("{region}", c.region, "{route}", route, "{was}", c.was)

	out := []string{argv[0]}
	for _, a := range argv[1:] {
		out = append(out, words.Replace(a))
	}

	return out
}

// bounded keeps the first bytes that are written.
type bounded struct {
	bytes.Buffer
	over bool
}

// Write takes everything and keeps what there is room for.
func (b *bounded) Write(p []byte) (int, error) {
	keep := p
	if room := maxOutput - b.Len(); len(p) > room {
		keep, b.over = p[:room], true
	}

	_, _ = b.Buffer.Write(keep)

	return len(p), nil
}
