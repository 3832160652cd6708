package regional_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/restore/machine"
	"drctl/targets"
)

// without makes a command see empty directories in place of those of regions' servers, as
// on a host of its own.
func (p *place) without(c *exec.Cmd, regions ...string) *exec.Cmd {
	p.Helper()

	if len(regions) == 0 {
		return c
	}

	script := ""
	for _, r := range regions {
		script += "mount -t tmpfs tmpfs " + p.instance(r).DataDir + " && "
	}
	c.Args = append(append(sandboxtest.Mounts(p), "sh", "-c", script+`exec "$0" "$@"`), c.Args...)

	path, err := exec.LookPath(c.Args[0])
	if err != nil {
		p.Fatal(err)
	}
	c.Path = path

	return c
}

// names gives the PostgreSQL servers hosts: pg-east, pg-west.
func (p *place) names() {
	p.Helper()

	file := filepath.Join(p.dir, "drctl.yaml")

	b, err := os.ReadFile(file)
	if err != nil {
		p.Fatal(err)
	}

	text := string(b)
	for _, r := range []string{"east", "west"} {
		dir := "data_dir: " + p.instance(r).DataDir
		if !strings.Contains(text, dir) {
			p.Fatalf("the configuration has no %s", dir)
		}
		text = strings.Replace(text, dir, "host: pg-"+r+", "+dir, 1)
	}

	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
}

// beside starts the worker of a region's database host, which sees that host's directory
// and not the other's.
func (p *place) beside(region, other string) {
	p.Helper()

	c := p.without(p.command("drctl", "worker", "--region", region, "--host", "pg-"+region, "--role", "base"), other)
	c.Stdout, c.Stderr = os.Stderr, os.Stderr

	if err := c.Start(); err != nil {
		p.Fatal(err)
	}

	p.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	})
}

// TestEveryHostDoesItsOwn moves a platform there and back where nobody but the worker on
// a server's own host can see its directory: bases are read there, the old primary is
// stopped there, and becomes a standby there. The sections run elsewhere.
func TestEveryHostDoesItsOwn(t *testing.T) {
	sandboxtest.Mounts(t)

	p := newPlace(t)
	p.names()
	p.hidden = []string{"east", "west"}
	p.serve()
	p.beside("east", "west")
	p.beside("west", "east")

	p.must("drctl", "backup", "now")
	p.exec("east", "CREATE TABLE kept ()")
	p.write("east", 100)
	p.byFiles(1)

	p.over(machine.Reached, "switchover", "run", "--to", "west")
	p.has("west", 100)
	p.standsBy("west", false)
	p.standsBy("east", true)
	p.write("west", 50)

	// The primary has moved, and the configuration still names the east first.
	p.must("drctl", "backup", "now")
	p.byFiles(2)

	p.over(machine.Reached, "switchover", "run", "--from", "west", "--to", "east")
	p.has("east", 150)
	p.standsBy("east", false)
	p.standsBy("west", true)
}

// byFiles wants so many bases of the PostgreSQL shard, each read from a directory.
func (p *place) byFiles(n int) {
	p.Helper()

	var bs []targets.Artifact
	if err := json.Unmarshal([]byte(p.must("drctl", "backup", "list", "--json")), &bs); err != nil {
		p.Fatal(err)
	}

	got := 0
	for _, b := range bs {
		if b.Kind != targets.Postgres {
			continue
		}

		if got++; b.Method != "files" {
			p.Errorf("base %s was read by %s", b.ID, b.Method)
		}
	}

	if got != n {
		p.Errorf("%d bases, want %d", got, n)
	}
}
