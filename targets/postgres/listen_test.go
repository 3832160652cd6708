package postgres_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

// A server that a restore left stopped comes up where the configuration says that
// it is, started as any other: not at the port and the addresses of the lost server.
func TestRestoredServerComesUpAtItsDestination(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	base := w.base(t, w.in, "base-1")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-ad01")
	w.a.reach(t, w.id, at.Offset)

	// As it was on the lost host, on a port that ALTER SYSTEM had set.
	for name, text := range map[string]string{
		"postgresql.conf":      "listen_addresses = '203.0.113.7, localhost'\nunix_socket_directories = '/no/such/directory'\n",
		"postgresql.auto.conf": "port = '5499'\n",
	} {
		path := filepath.Join(w.s.dir, base.Snapshot, name)

		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, append(b, "\n"+text...), 0o600)
		}

		if err != nil {
			t.Fatal(err)
		}
	}

	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	into := w.sandbox()
	into.Role, into.Address = targets.Primary, fmt.Sprintf("127.0.0.1:%d", port)

	out, err := w.d.Restore(ctxFor(t, 2*time.Minute), into, w.request(base, at), w.s)
	if err != nil {
		t.Fatal(err)
	}

	f := finding(t, out.Findings, "where the server listens")
	for _, want := range []string{fmt.Sprintf("port = '%d' (the source had '5499')", port), "'/no/such/directory'", into.Address} {
		if f.Severity != targets.Warned || !strings.Contains(f.Detail, want) {
			t.Errorf("%q is not said: %+v", want, f)
		}
	}

	tools := sandboxtest.Tools(t)
	if _, err := tools.Run(ctxFor(t, 2*time.Minute), nil, "pg_ctl", "start", "-w", "-D", into.DataDir, "-l", into.DataDir+"/own.log"); err != nil {
		said, _ := os.ReadFile(into.DataDir + "/own.log")
		t.Fatalf("%v: %s", err, said)
	}

	t.Cleanup(func() {
		_, _ = tools.Run(context.Background(), nil, "pg_ctl", "stop", "-m", "immediate", "-D", into.DataDir)
	})

	if n := value[int](t, open(t, into), "SELECT count(*)::int FROM account"); n != 100 {
		t.Errorf("%d accounts", n)
	}
}
