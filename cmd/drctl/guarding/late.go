package guarding

import (
	"context"
	"log/slog"
	"sync"

	"drctl/internal/fail"
	"drctl/internal/guard"
	"drctl/internal/logs"
)

// late is a server of which nothing is known before it runs: a Redis server says itself
// where it works. Until then the guard does not answer for it.
type late struct {
	name string
	open func(context.Context) (guard.Server, error)
	log  *slog.Logger

	mu sync.Mutex
	s  guard.Server
}

var _ guard.Server = (*late)(nil)

// known is the server, once it has run.
func (l *late) known(ctx context.Context) (guard.Server, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	if l.s != nil {
		return l.s, nil
	}

	s, err := l.open(ctx)
	if err != nil {
		if !fail.Is(err, fail.Unavailable) { // it runs, and cannot be guarded
			l.log.ErrorContext(ctx, "a server runs without its guard", "instance", l.name, logs.Err, err)
		}

		return nil, err
	}

	l.s = s

	return s, nil
}

// Instance implements guard.Server.
func (l *late) Instance() string { return l.name }

// Place implements guard.Server.
func (l *late) Place() (string, []string) {
	l.mu.Lock()
	defer l.mu.Unlock()

	if l.s == nil {
		return "", nil
	}

	return l.s.Place()
}

// Here implements guard.Server.
func (l *late) Here() bool {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.s != nil && l.s.Here()
}

// Writable implements guard.Server.
func (l *late) Writable(ctx context.Context) (bool, error) {
	s, err := l.known(ctx)
	if err != nil {
		return false, nil // nobody answers there, or somebody whom the guard cannot end
	}

	return s.Writable(ctx)
}

// Hold implements guard.Server.
func (l *late) Hold(ctx context.Context) error {
	s, err := l.known(ctx)
	if err != nil {
		return err
	}

	return s.Hold(ctx)
}

// Release implements guard.Server.
func (l *late) Release(ctx context.Context) error {
	s, err := l.known(ctx)
	if err != nil {
		return nil // there is nothing to take back
	}

	return s.Release(ctx)
}

// Stop implements guard.Server.
func (l *late) Stop(ctx context.Context) error {
	s, err := l.known(ctx)
	if err != nil {
		return err
	}

	return s.Stop(ctx)
}
