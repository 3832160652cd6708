package logs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"

	"drctl/internal/fail"
)

// The formats of a log.
const (
	Text = "text"
	JSON = "json"
)

// New makes the logger of a process: format is Text or JSON ("" is Text), level
// "debug", "info", "warn" or "error". Anything else is invalid.
func New(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fail.New(fail.Invalid, "flags", "--log-level", "use debug, info, warn or error", err)
	}

	opt := &slog.HandlerOptions{Level: l}
	switch format {
	case JSON:
		return slog.New(handler{Handler: slog.NewJSONHandler(w, opt)}), nil
	case Text, "":
		return slog.New(handler{Handler: slog.NewTextHandler(w, opt)}), nil
	}

	return nil, fail.New(fail.Invalid, "flags", "--log-format", "use text or json", fmt.Errorf("there is no format %q", format))
}

type contextKey struct{}

// With returns a context whose records carry the attributes, after those that
// ctx has already.
func With(ctx context.Context, attrs ...slog.Attr) context.Context {
	if len(attrs) == 0 {
		return ctx
	}

	return context.WithValue(ctx, contextKey{}, &labels{attrs: append(slices.Clip(said(ctx)), attrs...)})
}

// Note adds an attribute to the innermost context that With has made around ctx,
// for all who log with it from now on: what is known only once the work has begun.
func Note(ctx context.Context, key, value string) {
	if l, ok := ctx.Value(contextKey{}).(*labels); ok {
		l.mu.Lock()
		defer l.mu.Unlock()

		l.attrs = append(slices.Clip(l.attrs), slog.String(key, value))
	}
}

// labels are what a context says.
type labels struct {
	mu    sync.Mutex
	attrs []slog.Attr // never changed in place
}

// Of returns log with the attributes of ctx on every line: for what goes on
// logging without the context that began it.
func Of(ctx context.Context, log *slog.Logger) *slog.Logger {
	attrs := said(ctx)
	if len(attrs) == 0 {
		return log
	}

	return slog.New(log.Handler().WithAttrs(attrs))
}

func said(ctx context.Context) []slog.Attr {
	l, ok := ctx.Value(contextKey{}).(*labels)
	if !ok {
		return nil
	}

	l.mu.Lock()
	defer l.mu.Unlock()

	return l.attrs
}

// handler adds what the context of a record says. What the record or its logger
// says already is not said again.
type handler struct {
	slog.Handler
	has []string // keys that every record of it has
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	more := said(ctx)
	if len(more) == 0 {
		return h.Handler.Handle(ctx, r)
	}

	has := slices.Clone(h.has)
	r.Attrs(func(a slog.Attr) bool {
		has = append(has, a.Key)
		return true
	})

	r = r.Clone()
	for _, a := range more {
		if !slices.Contains(has, a.Key) {
			r.AddAttrs(a)
		}
	}

	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	has := slices.Clone(h.has)
	for _, a := range attrs {
		has = append(has, a.Key)
	}

	return handler{h.Handler.WithAttrs(attrs), has}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), nil}
}
