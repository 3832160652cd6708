package postgres_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

// A server whose configuration lay outside its data directory, as on Debian, is
// left with a configuration that nobody chose. The restore says so, and the
// command that it names starts the server with the person's own.
func TestRestoreTellsOfConfigurationElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	base := w.base(t, w.in, "base-1")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-c0f1")
	w.a.reach(t, w.id, at.Offset)
	into := w.sandbox()
	into.Role = targets.Primary
	into.DataDir = filepath.Join(w.dir, "it's data")

	out, err := w.d.Restore(ctxFor(t, 2*time.Minute), into, w.request(base, at), w.s)
	if err != nil {
		t.Fatal(err)
	}

	for _, f := range out.Findings {
		if f.Check == "before the server is started" {
			t.Errorf("nothing lay elsewhere: %+v", f)
		}
	}

	// What a base of such a server is: a record of the paths, and no files.
	etc := filepath.Join(sandboxtest.Dir(t), "etc main")
	var elsewhere []string

	err = os.Mkdir(etc, 0o755)
	for _, name := range []string{"postgresql.conf", "pg_hba.conf"} {
		err = errors.Join(err, os.Remove(filepath.Join(w.s.dir, base.Snapshot, name)))
		elsewhere = append(elsewhere, filepath.Join(etc, name))
	}
	own := fmt.Sprintf("data_directory = '/nowhere'\nport = 5499\nlisten_addresses = ''\nunix_socket_directories = '%s'\nwork_mem = '7MB'\nhba_file = '%s'\n", etc, elsewhere[1])

	err = errors.Join(err, os.WriteFile(elsewhere[0], []byte(own), 0o644), os.WriteFile(elsewhere[1], []byte("local all all trust\n"), 0o644), sandboxtest.Tools(t).RunAs.Own(etc))
	if err != nil {
		t.Fatal(err)
	}

	port, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	// Its own configuration has the lost server's port.
	into.Address = fmt.Sprintf("127.0.0.1:%d", port)
	base.Settings["drctl.configuration_elsewhere"] = strings.Join(elsewhere, ", ")
	w.dir = sandboxtest.Dir(t)

	into.DataDir = filepath.Join(w.dir, "it's data")
	if out, err = w.d.Restore(ctxFor(t, 2*time.Minute), into, w.request(base, at), w.s); err != nil {
		t.Fatal(err)
	}

	f := finding(t, out.Findings, "before the server is started")
	for _, want := range []string{elsewhere[0], elsewhere[1], "an empty postgresql.conf", "a pg_hba.conf that admits local users"} {
		if f.Severity != targets.Warned || !strings.Contains(f.Detail, want) {
			t.Fatalf("%q is not said: %+v", want, f)
		}
	}
	_, command, _ := strings.Cut(f.Detail, "started with: ")

	command, _, _ = strings.Cut(command, " ; ")
	if text, err := exec.CommandContext(ctxFor(t, 2*time.Minute), "sh", "-c", command+" > '"+etc+"/out' 2>&1").CombinedOutput(); err != nil {
		said, _ := os.ReadFile(etc + "/out")
		t.Fatalf("%s: %v: %s%s", command, err, text, said)
	}

	pid, err := os.ReadFile(filepath.Join(into.DataDir, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	var n int

	_, _ = fmt.Sscan(string(pid), &n)
	defer stopPid(t, n)

	text, err := exec.CommandContext(ctxFor(t, 2*time.Minute), filepath.Join(sandboxtest.Tools(t).PostgresBin, "psql"), "-h", etc, "-p", strconv.Itoa(port), "-U", "drctl", "-d", "shop", "-Atc",
		"SELECT current_setting('work_mem'), count(*) FROM account").CombinedOutput()
	if err != nil || strings.TrimSpace(string(text)) != "7MB|100" {
		t.Fatalf("%v: %s", err, text)
	}
}
