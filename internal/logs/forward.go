package logs

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"strings"
	"time"
)

// maxLine bounds a line of a child, in bytes; what is beyond is cut off.
const maxLine = 256 << 10

// Stream forwards one stream of a child's output to a log. It is for one goroutine.
type Stream struct {
	Log *slog.Logger
	// Plain is the level of a line that is no record and says nothing of its own
	// level: on standard error it is a complaint.
	Plain slog.Level
	// Edit, when set, may change a record before its level decides whether it is
	// logged.
	Edit func(slog.Record) slog.Record

	dying bool // what follows is the trace of a panic
}

// Read forwards every line until r ends, except for those that taken wants.
func (s *Stream) Read(r io.Reader, taken func(line string) bool) {
	b := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := readLine(b)
		if err == nil || line != "" {
			if taken == nil || !taken(line) {
				s.Line(line)
			}
		}

		if err != nil {
			return
		}
	}
}

// readLine reads a line without its end, and no more of it than maxLine.
func readLine(b *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, more, err := b.ReadLine()
		if room := maxLine - len(line); room > 0 {
			line = append(line, part[:min(len(part), room)]...)
		}

		if err != nil || !more {
			return string(line), err
		}
	}
}

// Line forwards one line. A record of JSON keeps its time, level, message and
// attributes; any other line is a message of its own, with the level that it
// deserves. An empty line is nothing.
func (s *Stream) Line(line string) {
	if strings.TrimSpace(line) == "" {
		return
	}

	r, ok := Decode(line)
	if ok {
		s.dying = false
	} else {
		level, text := s.judge(line)
		r = slog.NewRecord(time.Time{}, level, text, 0)
	}

	if r.Time.IsZero() {
		r.Time = time.Now()
	}

	if ok && s.Edit != nil {
		r = s.Edit(r)
	}

	ctx := context.Background()
	if s.Log.Enabled(ctx, r.Level) {
		_ = s.Log.Handler().Handle(ctx, ownKeys(r))
	}
}

// judge finds the level of a line that is no record. What ends a program of Go
// is an error, with the trace that follows it, and so is what our own programs
// say when they fail.
func (s *Stream) judge(line string) (slog.Level, string) {
	for _, p := range []string{"panic: ", "fatal error: ", "fatal: ", "runtime: ", "unexpected fault address ", "SIGABRT: ", "SIGQUIT: ", "SIGSEGV: ", "WARNING: DATA RACE"} {
		if strings.HasPrefix(line, p) {
			s.dying = true
		}
	}

	if s.dying {
		return slog.LevelError, line
	}

	for _, program := range []string{"drctl: ", "drctl-engine: "} {
		if text, ours := strings.CutPrefix(line, program); ours {
			if warning, is := strings.CutPrefix(text, "warning: "); is {
				return slog.LevelWarn, warning
			}

			return slog.LevelError, text
		}
	}

	return s.Plain, line
}

// ownKeys renames attributes of a record that would hide what the line says of
// itself.
func ownKeys(r slog.Record) slog.Record {
	out := slog.NewRecord(r.Time, r.Level, r.Message, 0)
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case slog.TimeKey, slog.LevelKey, slog.MessageKey, Child:
			a.Key = "its_" + a.Key
		}

		out.AddAttrs(a)

		return true
	})

	return out
}
