package guarding

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/retry"
)

// Beside are the guards of a worker: one for each group that has servers on its host.
// Each is a process of its own in a session of its own, so that a worker that is killed
// takes no server with it, and the next worker finds the guard at work.
type Beside struct {
	Config               *config.Config
	Region, Host         string
	ConfigFile, LogLevel string
	Log                  *slog.Logger
	// Program is drctl; "" is this very program.
	Program string
}

const (
	// guardAgain is how long after a guard has ended another is started, and how often
	// one that another worker has left is looked at.
	guardAgain = 2 * time.Second
	// guardEnd is how long a guard has to be taken off the list.
	guardEnd = time.Minute
)

// Start runs them beside the caller until that calls stop, which waits until they are
// taken off the list. Why there is nothing to guard goes to fatal.
func (b Beside) Start(ctx context.Context, fatal chan<- error) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	ended := make(chan struct{})

	go func() {
		defer close(ended)

		if err := b.Run(ctx); err != nil {
			fatal <- err
		}
	}()

	return func() { end(); <-ended }
}

// Run keeps the guards running until the context ends. Then each has itself taken off
// the list, and the servers go on. Invalid: there is nothing that could be guarded.
func (b Beside) Run(ctx context.Context) error {
	groups := b.groups()

	switch {
	case len(groups) == 0:
		return fail.New(fail.Invalid, "worker: guard", b.Host, "name the host of its instances: targets.<name>.shards.<shard>."+b.Region+".host", errors.New("no server of the configuration is on this host"))
	case b.Config.Voters() < 3:
		return fail.New(fail.Invalid, "worker: guard", b.Host, "name a witness in a third place", errors.New("a guard needs three voters: vaults, and a witness"))
	}

	self := b.Program
	if self == "" {
		var err error
		if self, err = os.Executable(); err != nil {
			return fail.New(fail.Internal, "worker: guard", "drctl", "", err)
		}
	}

	var all sync.WaitGroup
	for _, g := range groups {
		all.Go(func() { b.keep(ctx, self, g) })
	}

	all.Wait()

	return nil
}

// groups are those with servers on this host.
func (b Beside) groups() (out []string) {
	for _, name := range b.Config.GroupNames() {
		for _, id := range b.Config.Shards(name) {
			if host, _ := b.Config.Host(id, b.Region); host == b.Host && b.Host != "" && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}

	return out
}

// keep keeps one group's guard running.
func (b Beside) keep(ctx context.Context, self, group string) {
	log := b.Log.With(logs.Group, group)

	for waits := false; ctx.Err() == nil; {
		lock, err := b.lock(group)
		if err == nil {
			waits = false
			err = b.stand(ctx, self, group, lock)
		}

		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, syscall.EWOULDBLOCK) && !waits:
			waits = true

			log.Info("a guard of an earlier worker stands beside the servers; it goes on")
		case err != nil && !waits:
			log.Error("the guard has ended; another is started", logs.Err, err)
		}

		if retry.Sleep(ctx, guardAgain) != nil {
			return
		}
	}
}

// lock takes the lock of a group's guard on this host. The guard inherits it: it is held
// as long as that lives.
func (b Beside) lock(group string) (*os.File, error) {
	if err := os.MkdirAll(b.Config.StateDir, 0o755); err != nil {
		return nil, fail.FromOS("worker: guard", b.Config.StateDir, err)
	}

	path := filepath.Join(b.Config.StateDir, "guard-"+b.Region+"-"+b.Host+"-"+group+".lock")

	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fail.FromOS("worker: guard", path, err)
	}

	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}

	return f, nil
}

// stand runs a guard to its end. It is told to end with the context, and is never killed
// by the worker before its time: its watchman would end the servers.
func (b Beside) stand(ctx context.Context, self, group string, lock *os.File) error {
	cmd := exec.Command(self, "--config", b.ConfigFile, "--log-level", b.LogLevel, "guard", "--region", b.Region, "--group", group, "--host", b.Host)
	cmd.ExtraFiles = []*os.File{lock}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}

	err := cmd.Start()
	if cerr := lock.Close(); err != nil {
		return fail.New(fail.Unavailable, "worker: guard", self, "", errors.Join(err, cerr))
	}

	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	select {
	case err := <-ended:
		return fail.New(fail.Unavailable, "worker: guard", group, "see what it said above", err)
	case <-ctx.Done():
	}

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fail.New(fail.Unavailable, "worker: guard", group, "", err)
	}

	select {
	case err := <-ended:
		return err
	case <-time.After(guardEnd):
		b.Log.Warn("the guard has not ended; it goes on by itself", logs.Group, group)
		return nil
	}
}
