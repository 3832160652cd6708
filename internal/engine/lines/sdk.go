package lines

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	sdklog "go.temporal.io/sdk/log"

	"drctl/internal/logs"
)

// Coded reads an error of drctl out of the one that the engine carries; ok is
// false for an error of the engine itself, and for nil.
type Coded func(err error) (c Cause, ok bool)

// Cause is an error of drctl.
type Cause struct {
	Err      error
	Canceled bool // it came of a cancelled context
}

// Logger hands the SDK's log lines to slog, with the keys of drctl; nil
// discards them.
func Logger(log *slog.Logger, coded Coded) sdklog.Logger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}

	return sdkLog{log, coded}
}

// sdkLog is an SDK logger that writes records of drctl.
type sdkLog struct {
	log   *slog.Logger
	coded Coded
}

var (
	_ sdklog.Logger     = sdkLog{}
	_ sdklog.WithLogger = sdkLog{}
)

func (l sdkLog) Debug(msg string, keyvals ...any) { l.put(slog.LevelDebug, msg, keyvals) }
func (l sdkLog) Info(msg string, keyvals ...any)  { l.put(slog.LevelInfo, msg, keyvals) }
func (l sdkLog) Warn(msg string, keyvals ...any)  { l.put(slog.LevelWarn, msg, keyvals) }
func (l sdkLog) Error(msg string, keyvals ...any) { l.put(slog.LevelError, msg, keyvals) }

// With returns a logger that adds the attributes to every line.
func (l sdkLog) With(keyvals ...any) sdklog.Logger {
	return sdkLog{l.log.With(ourKeys(keyvals)...), l.coded}
}

func (l sdkLog) put(level slog.Level, msg string, keyvals []any) {
	level = ourLevel(level, msg, keyvals)
	if msg == "Activity error." && l.told(keyvals) {
		level = slog.LevelDebug
	}

	l.log.Log(context.Background(), level, msg, ourKeys(keyvals)...)
}

// ourKeys renames the keys among keys and values that take turns.
func ourKeys(keyvals []any) []any {
	out := slices.Clone(keyvals)
	for i := 0; i+1 < len(out); i += 2 {
		if k, ok := out[i].(string); ok {
			out[i] = logs.OurKey(k)
		}
	}

	return out
}

// Record is a record of the embedded engine with the keys of drctl.
func Record(r slog.Record) slog.Record {
	var keyvals, attrs []any
	r.Attrs(func(a slog.Attr) bool {
		keyvals = append(keyvals, a.Key, a.Value.String())
		a.Key = logs.OurKey(a.Key)
		attrs = append(attrs, a)

		return true
	})
	out := slog.NewRecord(r.Time, ourLevel(r.Level, r.Message, keyvals), r.Message, 0)
	out.Add(attrs...)

	return out
}

// polls are what the engine and the SDK say of a long poll that has ended
// without a task.
var polls = []string{
	"Failed to poll for task.",
	"Unable to call matching.PollActivityTaskQueue.",
	"Unable to call matching.PollNexusTaskQueue.",
	"Unable to call matching.PollWorkflowTaskQueue.",
}

// routine is what the SDK says of every start and stop of a worker.
var routine = []string{
	"Started Worker",
	"Stopped Worker",
	"No metrics handler configured for temporal worker. Use NopHandler as default.",
	"No DataConverter configured for temporal worker. Use default one.",
}

// noNexus begins what the engine says at each start of a part that drctl does not use.
const noNexus = "HTTP API port has not been set. Nexus HTTP endpoints will not be available."

// ourLevel is the level of a line of Temporal. What is said of every start and
// stop is for debugging, and so are a poll that was cancelled, as when a worker
// stops, and that there are no Nexus endpoints, which are neither errors nor
// warnings to those who run drctl.
func ourLevel(level slog.Level, msg string, keyvals []any) slog.Level {
	switch {
	case level == slog.LevelInfo && slices.Contains(routine, msg),
		slices.Contains(polls, msg) && wasCanceled(keyvals),
		strings.HasPrefix(msg, noNexus):
		return slog.LevelDebug
	}

	return level
}

// wasCanceled reports whether the one error of a line is a cancellation and
// nothing else. Over a connection it is mere text, and an error of several could
// hold another beside it.
func wasCanceled(keyvals []any) bool {
	text := ""
	switch err := errorOf(keyvals).(type) {
	case error:
		text = err.Error()
	case string:
		text = err
	}

	return text == context.Canceled.Error() || text == "rpc error: code = Canceled desc = "+context.Canceled.Error()
}

// told reports whether the error of a line was returned by an activity of drctl,
// so that tell has logged it.
func (l sdkLog) told(keyvals []any) bool {
	err, ok := errorOf(keyvals).(error)
	if ok {
		_, ok = l.coded(err)
	}

	return ok
}

// errorOf is the value of the one key that says an error; nil when there is
// none, or several.
func errorOf(keyvals []any) (found any) {
	for i := 0; i+1 < len(keyvals); i += 2 {
		if k, ok := keyvals[i].(string); ok && logs.OurKey(k) == logs.Err {
			if found != nil {
				return nil
			}
			found = keyvals[i+1]
		}
	}

	return found
}
