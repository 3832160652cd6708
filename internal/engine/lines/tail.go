package lines

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"

	"drctl/internal/logs"
)

const (
	tailLines = 5
	tailWidth = 4096 // bytes of each
)

// Tail hands the engine's log lines on and keeps the newest, for the error when
// it does not start.
type Tail struct {
	out  logs.Stream
	mu   sync.Mutex
	part []byte
	keep []string
}

// NewTail makes a tail that hands the lines on to log.
func NewTail(log *slog.Logger) *Tail {
	return &Tail{out: logs.Stream{Log: log, Plain: slog.LevelWarn, Edit: Record}}
}

// Write takes output of the engine; it never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()

	t.part = append(t.part, p...)
	for {
		i := bytes.IndexByte(t.part, '\n')
		if i < 0 {
			return len(p), nil
		}
		line := string(t.part[:i])

		t.part = t.part[i+1:]
		if len(t.keep) == tailLines {
			t.keep = t.keep[1:]
		}
		t.keep = append(t.keep, line[:min(len(line), tailWidth)])
		t.out.Line(line)
	}
}

// Last is the newest lines in one.
func (t *Tail) Last() string {
	t.mu.Lock()
	defer t.mu.Unlock()

	if len(t.keep) == 0 {
		return "it said nothing"
	}

	return strings.Join(t.keep, " | ")
}
