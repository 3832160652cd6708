package logs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/logs"
)

func newLog(t *testing.T, format, level string) (*slog.Logger, *bytes.Buffer) {
	t.Helper()

	var b bytes.Buffer

	log, err := logs.New(&b, format, level)
	if err != nil {
		t.Fatal(err)
	}

	return log, &b
}

// one decodes the only line of a log in JSON, and fails when a key is there twice.
func one(t *testing.T, b *bytes.Buffer) map[string]any {
	t.Helper()

	var m map[string]any
	if err := json.Unmarshal(b.Bytes(), &m); err != nil || strings.Count(b.String(), "\n") != 1 {
		t.Fatalf("%v: %s", err, b)
	}

	for k := range m {
		if strings.Count(b.String(), `"`+k+`":`) != 1 {
			t.Errorf("%s is there twice: %s", k, b)
		}
	}

	return m
}

func TestWrongFlagsAreRefused(t *testing.T) {
	for _, c := range [][2]string{{"xml", "info"}, {"JSON", "info"}, {"text", "loud"}, {"text", ""}} {
		if _, err := logs.New(nil, c[0], c[1]); !fail.Is(err, fail.Invalid) {
			t.Errorf("%q: %v", c, err)
		}
	}
}

// What the context says is on each record once, and what the record says itself
// counts more.
func TestContextIsOnEveryRecord(t *testing.T) {
	outer := logs.With(t.Context(), slog.String(logs.Run, "r"), slog.Int(logs.Attempt, 2))
	inner := logs.With(outer, slog.String(logs.Shard, "orders/0"))
	logs.Note(inner, logs.Base, "b")

	for name, c := range map[string]struct {
		put  func(*slog.Logger)
		want map[string]any
	}{
		"context":         {func(l *slog.Logger) { l.InfoContext(inner, "m") }, map[string]any{"run": "r", "attempt": 2.0, "shard": "orders/0", "base": "b"}},
		"outer context":   {func(l *slog.Logger) { l.InfoContext(outer, "m") }, map[string]any{"run": "r", "attempt": 2.0, "shard": nil, "base": nil}},
		"no context":      {func(l *slog.Logger) { l.Info("m") }, map[string]any{"run": nil, "shard": nil}},
		"bound":           {func(l *slog.Logger) { logs.Of(inner, l).Info("m") }, map[string]any{"run": "r", "shard": "orders/0"}},
		"bound and given": {func(l *slog.Logger) { logs.Of(inner, l).InfoContext(inner, "m") }, map[string]any{"run": "r", "shard": "orders/0"}},
		"its own":         {func(l *slog.Logger) { l.InfoContext(inner, "m", "shard", "carts/1") }, map[string]any{"run": "r", "shard": "carts/1"}},
		"its logger's":    {func(l *slog.Logger) { l.With("shard", "carts/1").InfoContext(inner, "m") }, map[string]any{"run": "r", "shard": "carts/1"}},
		"a note alone": {func(l *slog.Logger) {
			c := context.Background()
			logs.Note(c, "a", "b")
			l.InfoContext(c, "m")
		}, map[string]any{"a": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			log, b := newLog(t, logs.JSON, "info")
			c.put(log)

			m := one(t, b)
			for k, v := range c.want {
				if m[k] != v {
					t.Errorf("%s is %v, want %v: %s", k, m[k], v, b)
				}
			}
		})
	}
}

func TestOurKey(t *testing.T) {
	for in, want := range map[string]string{
		"WorkflowID": "workflow", "RunID": "run", "wf-run-id": "run", "ActivityType": "activity", "Attempt": "attempt", "Error": "err", "error": "err",
		"TaskQueue": "queue", "Namespace": "namespace", "shard-id": "history_shard", "StackTrace": "stack_trace", "ActivityID": "activity_id",
		"schedule-id": "schedule_id", "Stop timeout": "stop_timeout", "WorkerID": "worker_id", "shard": "shard", "HTTPPort": "httpport", "": "",
	} {
		if got := logs.OurKey(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
