package switchover_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/handover"
)

// A server that a program stops counts as stopped once its process is gone: programs end
// a little before that. One that goes on running was not stopped, whatever the program says.
func TestStoppedByAProgram(t *testing.T) {
	t.Parallel()
	p := newPair(t, sandboxtest.Tools(t))

	as := ""
	if os.Geteuid() == 0 {
		as = "runuser -u postgres -- "
	}
	script := filepath.Join(sandboxtest.Dir(t), "stop.sh")
	program := func(text string) handover.HostCommands {
		if err := os.WriteFile(script, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}

		return handover.HostCommands{Stop: []string{script}}
	}
	stop := fmt.Sprintf("%s%s/pg_ctl stop -m fast -D %s", as, p.tools.PostgresBin, p.a.DataDir)

	for _, c := range []struct {
		text string
		want fail.Code
	}{
		{"exit 0", fail.Unverified},
		{"echo no such host; exit 1", fail.Unavailable},
		{"(sleep 1; exec " + stop + " >/dev/null 2>&1) >/dev/null 2>&1 &", ""}, // it ends before the server
	} {
		sw, err := p.d.Switch(handover.Request{Old: p.a, New: p.b, Epoch: 2, Host: program(c.text)})
		if err != nil {
			t.Fatal(err)
		}

		ctx := p.context()
		p.archived(p.a)

		if _, err := sw.Prepare(ctx); err != nil {
			t.Fatal(err)
		}

		if _, err := sw.Drain(ctx); err != nil {
			t.Fatal(err)
		}

		if _, err := sw.Stop(ctx); c.want == "" && err != nil || c.want != "" && !fail.Is(err, c.want) {
			t.Fatalf("%s: %v", c.text, err)
		}

		if c.want != "" {
			if err := sw.Undo(ctx, false); err != nil {
				t.Fatal(err)
			}

			p.exec(p.a, "INSERT INTO t (note) VALUES ('again')")
			p.until(p.b, "SELECT count(*) > 0 FROM pg_stat_wal_receiver WHERE status = 'streaming'")
		}

		sw.Close()
	}
}
