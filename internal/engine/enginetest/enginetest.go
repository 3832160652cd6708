// Package enginetest starts real embedded engines for tests. A test that
// cannot find the drctl-engine binary fails; it never skips.
package enginetest

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/sdk/client"

	"drctl/internal/engine"
)

// Bin finds bin/drctl-engine in the folders above the test's own.
func Bin(t testing.TB) string {
	t.Helper()

	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}

	for d := dir; ; d = filepath.Dir(d) {
		bin := filepath.Join(d, "bin", "drctl-engine")
		if _, err := os.Stat(bin); err == nil {
			return bin
		}

		if d == filepath.Dir(d) {
			t.Fatalf("no bin/drctl-engine above %s; build it with: make tools", dir)
		}
	}
}

// Options are those of an engine on a fresh directory of the test.
func Options(t testing.TB) engine.EmbeddedOptions {
	t.Helper()
	return engine.EmbeddedOptions{Bin: Bin(t), Dir: t.TempDir(), Log: Log(t)}
}

// Start starts an engine and stops it at the end of the test.
func Start(t testing.TB, o engine.EmbeddedOptions) *engine.Embedded {
	t.Helper()

	e, err := engine.StartEmbedded(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = e.Stop(context.Background()) })

	return e
}

// Client dials an engine and closes the client at the end of the test.
func Client(t testing.TB, e *engine.Embedded) client.Client {
	t.Helper()
	o := e.Options()
	o.Timeout, o.Log = 2*time.Minute, Log(t)

	c, err := engine.Dial(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(c.Close)

	return c
}

// Log writes errors to the test's standard error.
func Log(testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

// KeepHistory writes a history as a replay reads it.
func KeepHistory(t testing.TB, path string, h *history.History) {
	t.Helper()

	b, err := temporalproto.CustomJSONMarshalOptions{}.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}

	var out bytes.Buffer
	if err := json.Indent(&out, b, "", " "); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(path, append(out.Bytes(), '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
