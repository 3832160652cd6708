package engine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"drctl/internal/engine/lines"
	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/internal/supervise"
)

// EmbeddedOptions say how to start the embedded engine.
type EmbeddedOptions struct {
	Bin       string // path of drctl-engine
	Dir       string // its database; made when missing
	Port      int    // 0 takes the port of the last run, else any free one
	Namespace string // "" is DefaultNamespace
	// ReadyTimeout bounds the wait for it to be usable; 0 is a minute.
	ReadyTimeout time.Duration
	Log          *slog.Logger // gets the engine's own log lines; nil discards
}

// Args are the arguments of drctl-engine for these options, for those who
// start it themselves (a supervisor).
func (o EmbeddedOptions) Args() []string {
	return []string{"--dir", o.Dir, "--port", strconv.Itoa(o.Port), "--namespace", o.namespace()}
}

// command is the engine's, with as much of the environment as it needs: the
// rest may hold secrets.
func (o EmbeddedOptions) command() *exec.Cmd {
	cmd := exec.Command(o.Bin, o.Args()...)

	cmd.Env = []string{}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}

	return cmd
}

func (o EmbeddedOptions) namespace() string {
	if o.Namespace == "" {
		return DefaultNamespace
	}

	return o.Namespace
}

// Embedded is a running engine on this machine. It ends with this process,
// however that ends.
type Embedded struct {
	Address   string // host:port
	Namespace string
	Dir       string // its database and what opens it
	Proc      *os.Process

	stdin io.Closer
	done  chan struct{}
	err   error // of Wait; read it after done
}

// StartEmbedded starts the engine and waits until its namespace can be used.
// Conflict when another engine serves the directory or another process has the
// port, unsupported when a newer engine wrote the database.
func StartEmbedded(ctx context.Context, o EmbeddedOptions) (*Embedded, error) {
	var err error
	for range 3 {
		var e *Embedded
		if e, err = startOnce(ctx, o); err == nil {
			return e, nil
		}
		// The inner services listen on ports that were free a moment before.
		if !fail.Is(err, fail.Unavailable) || ctx.Err() != nil {
			break
		}
	}

	return nil, err
}

func startOnce(ctx context.Context, o EmbeddedOptions) (*Embedded, error) {
	const op = "engine: start"

	if o.ReadyTimeout <= 0 {
		o.ReadyTimeout = time.Minute
	}

	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	cmd := o.command()

	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fail.New(fail.Exhausted, op, o.Bin, "", err)
	}

	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fail.New(fail.Exhausted, op, o.Bin, "", err)
	}
	tail := lines.NewTail(o.Log)

	cmd.Stderr = tail
	if err := proc.StartChild(cmd); err != nil {
		return nil, fail.New(fail.NotFound, op, o.Bin, "build it with: make tools", err)
	}
	e := &Embedded{Proc: cmd.Process, stdin: stdin, done: make(chan struct{})}

	lines := make(chan string, 1)
	go func() {
		r := bufio.NewReader(stdout)

		line, _ := r.ReadString('\n')
		lines <- line
		_, _ = io.Copy(io.Discard, r)
		e.err = cmd.Wait()
		close(e.done)
	}()

	ctx, cancel := context.WithTimeout(ctx, o.ReadyTimeout)
	defer cancel()

	select {
	case line := <-lines:
		err = e.readReady(line, o, tail)
	case <-ctx.Done():
		err = fail.New(fail.Stalled, op, o.Dir, "look at the engine's log", fmt.Errorf("it is not ready: %w", ctx.Err()))
	}

	if err != nil {
		_ = e.Proc.Kill()
		<-e.done

		return nil, err
	}

	return e, nil
}

// readReady understands the engine's first line.
func (e *Embedded) readReady(line string, o EmbeddedOptions, tail *lines.Tail) error {
	ready, address, err := supervise.ParseReport(line)
	if err != nil {
		return err
	}

	if !ready {
		return fail.New(fail.Unavailable, "engine: start", o.Dir, "", fmt.Errorf("it ended before it was ready: %s", tail.Last()))
	}
	e.Address, e.Namespace, e.Dir = address, o.namespace(), o.Dir

	return nil
}

// Options are how this process and others of the same user dial it.
func (e *Embedded) Options() Options {
	return Options{Address: e.Address, Namespace: e.Namespace, Dir: e.Dir}
}

// Done is closed when the engine has ended, asked or not.
func (e *Embedded) Done() <-chan struct{} { return e.done }

// Stop ends the engine: politely until ctx ends or 15 seconds have passed,
// then by force. It is safe by force too. It may be repeated.
func (e *Embedded) Stop(ctx context.Context) error {
	_ = e.stdin.Close()

	_ = e.Proc.Signal(syscall.SIGTERM)
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
	case <-time.After(15 * time.Second):
	}
	_ = e.Proc.Kill()
	<-e.done

	return nil
}
