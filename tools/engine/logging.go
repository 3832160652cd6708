package main

import (
	"context"
	"log/slog"
	"os"

	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
)

// serverLog hands the server's log lines to slog, so that the engine writes
// one JSON format.
type serverLog struct{ log *slog.Logger }

var (
	_ log.Logger     = (*serverLog)(nil)
	_ log.WithLogger = (*serverLog)(nil)
)

func (l *serverLog) put(level slog.Level, msg string, tags []tag.Tag) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	l.log.LogAttrs(ctx, level, msg, attrs(tags)...)
}

func attrs(tags []tag.Tag) []slog.Attr {
	out := make([]slog.Attr, 0, len(tags))
	for _, t := range tags {
		out = append(out, slog.Any(t.Key(), t.Value()))
	}
	return out
}

func (l *serverLog) Debug(msg string, t ...tag.Tag)  { l.put(slog.LevelDebug, msg, t) }
func (l *serverLog) Info(msg string, t ...tag.Tag)   { l.put(slog.LevelInfo, msg, t) }
func (l *serverLog) Warn(msg string, t ...tag.Tag)   { l.put(slog.LevelWarn, msg, t) }
func (l *serverLog) Error(msg string, t ...tag.Tag)  { l.put(slog.LevelError, msg, t) }
func (l *serverLog) DPanic(msg string, t ...tag.Tag) { l.put(slog.LevelError, msg, t) }

func (l *serverLog) Panic(msg string, t ...tag.Tag) {
	l.put(slog.LevelError, msg, t)
	panic(msg)
}

func (l *serverLog) Fatal(msg string, t ...tag.Tag) {
	l.put(slog.LevelError, msg, t)
	os.Exit(1)
}

// With returns a logger that adds the tags to every line.
func (l *serverLog) With(t ...tag.Tag) log.Logger {
	args := make([]any, 0, len(t))
	for _, a := range attrs(t) {
		args = append(args, a)
	}
	return &serverLog{log: l.log.With(args...)}
}
