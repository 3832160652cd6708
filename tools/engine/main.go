package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"

	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/schema/sqlite"
)

// version is drctl's own version, set by the linker.
var version = "dev"

const (
	stopLimit  = 10 * time.Second
	readyLimit = 60 * time.Second
)

type options struct {
	dir       string
	port      int
	namespace string
	retention time.Duration
	metrics   string
	level     slog.Level
	detached  bool
}

// ready is the line that says that the engine can be used.
type ready struct {
	Address   string    `json:"address"`
	Namespace string    `json:"namespace"`
	Pid       int       `json:"pid"`
	Started   time.Time `json:"started"`
	Version   string    `json:"version"`
	Server    string    `json:"server"`
	Schema    string    `json:"schema"`
}

// problem is an error as the parent reads it; the codes are drctl's.
type problem struct {
	Code    string `json:"code"`
	Op      string `json:"op"`
	Subject string `json:"subject"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (p *problem) Error() string { return p.Op + ": " + p.Subject + ": " + p.Message }

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, show, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	if show {
		_, _ = fmt.Fprintf(stdout, "drctl-engine %s (temporal server %s, schema %s, %s)\n",
			version, headers.ServerVersion, sqlite.Version, runtime.Version())
		return 0
	}
	syscall.Umask(0o077) // the database is nobody else's business
	level := &slog.LevelVar{}
	level.Set(o.level)
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level}))
	sctx, ignore := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer ignore()
	ctx, cancel := context.WithCancel(sctx)
	defer cancel()
	if !o.detached {
		// A parent that dies closes our standard input, whatever killed it. The
		// signals stay caught: a parent that stops us closes the input and sends
		// SIGTERM, which must not end us in the middle of an orderly stop.
		go func() {
			_, _ = io.Copy(io.Discard, stdin)
			cancel()
		}()
	}
	if err := serve(ctx, o, stdout, log, level); err != nil {
		p := &problem{Code: "internal", Op: "engine", Subject: o.dir, Message: err.Error()}
		_ = errors.As(err, &p)
		log.Error("engine failed", "err", err)
		_ = json.NewEncoder(stdout).Encode(map[string]*problem{"error": p})
		return 1
	}
	return 0
}

var namespaceName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,99}$`)

func parse(args []string, stderr io.Writer) (o options, show bool, err error) {
	f := flag.NewFlagSet("drctl-engine", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.dir, "dir", "", "directory of the database (required; made when missing)")
	f.IntVar(&o.port, "port", 0, "loopback port; 0 takes the last one if it is free, else any")
	f.StringVar(&o.namespace, "namespace", "drctl", "namespace")
	f.DurationVar(&o.retention, "retention", 90*24*time.Hour, "how long closed workflows are kept")
	f.StringVar(&o.metrics, "metrics", "", "loopback address for Prometheus metrics, such as 127.0.0.1:9090; off when empty")
	f.TextVar(&o.level, "log-level", slog.LevelWarn, "debug, info, warn or error")
	f.BoolVar(&o.detached, "detached", false, "go on when standard input closes")
	f.BoolVar(&show, "version", false, "print the version and exit")
	if err = f.Parse(args); err != nil || show {
		return o, show, err
	}
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.dir == "":
		err = errors.New("--dir is required")
	case o.port < 0 || o.port > 65535:
		err = fmt.Errorf("--port %d is not a port", o.port)
	case !namespaceName.MatchString(o.namespace):
		err = fmt.Errorf("--namespace %q: 2 to 100 letters, digits, '-', '_' or '.'", o.namespace)
	case o.retention < 24*time.Hour:
		err = fmt.Errorf("--retention %s: at least 24h", o.retention)
	}
	if err == nil && o.metrics != "" {
		err = loopback(o.metrics)
	}
	if err == nil {
		o.dir, err = filepath.Abs(o.dir)
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "drctl-engine:", err)
	}
	return o, false, err
}

func serve(ctx context.Context, o options, stdout io.Writer, log *slog.Logger, level *slog.LevelVar) error {
	if err := ownDir(o.dir); err != nil {
		return err
	}
	unlock, err := lockDir(o.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := prepareStore(ctx, o.dir, time.Now(), log); err != nil {
		return err
	}
	ports, err := choosePorts(o.dir, o.port)
	if err != nil {
		return err
	}
	id, err := newIdentity(o.dir)
	if err != nil {
		return err
	}
	s, err := newServer(o, ports, id, log)
	if err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() { started <- s.Start() }()
	select {
	case err := <-started:
		if err != nil {
			return startError(o, err)
		}
	case <-ctx.Done():
		return nil // everything acknowledged is on disk; there is nothing to undo
	}
	line := ready{
		Address: ports.address(), Namespace: o.namespace, Pid: os.Getpid(), Started: time.Now().UTC(),
		Version: version, Server: headers.ServerVersion, Schema: sqlite.Version,
	}
	if err := settle(ctx, o, line.Address, id); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := announce(o.dir, line, stdout); err != nil {
		return err
	}
	log.Info("engine ready", "address", line.Address, "namespace", o.namespace)
	<-ctx.Done()
	log.Info("engine stopping")
	if o.level == slog.LevelWarn {
		level.Set(slog.LevelError) // the services complain about each other while they stop
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop() }()
	select {
	case err = <-stopped:
	case <-time.After(stopLimit):
		log.Warn("engine did not stop in time; the database is safe", "limit", stopLimit.String())
	}
	_ = os.Remove(filepath.Join(o.dir, readyFile))
	return err
}

const readyFile = "engine.json"

// announce writes the ready file, then the ready line.
func announce(dir string, line ready, stdout io.Writer) error {
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, readyFile), append(b, '\n')); err != nil {
		return &problem{Code: "exhausted", Op: "engine: write ready file", Subject: dir, Message: err.Error()}
	}
	_, err = fmt.Fprintf(stdout, "%s\n", b)
	return err
}

// writeFile replaces a file as a whole.
func writeFile(path string, b []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	return err
}
