package regional_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"drctl/restore/machine"
	"drctl/workflows/recovery"
)

// below are all processes that descend from one.
func below(pid int) (out []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")

	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}

		// The name in brackets may hold anything.
		_, rest, _ := strings.Cut(string(b), ") ")

		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			out = append(append(out, child), below(child)...)
		}
	}

	return out
}

// TestARunWhoseEngineDiedIsTakenUp kills the engine and the workers while the old
// primary is being stopped, in the middle of the section. Another engine goes on by the
// vault alone; the first one does nothing more when it comes back.
func TestARunWhoseEngineDiedIsTakenUp(t *testing.T) {
	p := newPlace(t)
	mark := p.hangs("east", "primary")
	p.refused(1, "no recovery of the group has begun", "recovery", "resume", "--engine", "embedded", "--yes")
	p.serve()
	p.must("drctl", "backup", "now")
	p.exec("east", "CREATE TABLE kept ()")
	p.write("east", 100)

	ended := make(chan string, 1)
	c := p.command("drctl", "switchover", "run", "--to", "west", "--stay", "media", "--yes", "--json")

	var said lines
	c.Stderr = &said

	if err := c.Start(); err != nil {
		t.Fatal(err)
	}

	go func() { ended <- fmt.Sprint(c.Wait()) }()

	_, stopper := p.stopping(mark)
	p.refused(1, "the platform's engine answers", "recovery", "resume", "--engine", "embedded", "--yes")

	for _, pid := range append(below(p.up.Process.Pid), p.up.Process.Pid, stopper) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}

	_ = p.up.Wait()
	_ = c.Process.Kill()

	<-ended

	if !strings.Contains(said.String(), "drctl recovery resume ") {
		t.Errorf("nothing says how it goes on: %s", said.String())
	}

	out, words, code := p.run("drctl", "recovery", "resume", "--engine", "embedded", "--yes", "--json")

	var o recovery.Out
	if err := json.Unmarshal([]byte(out), &o); err != nil || code != 0 || o.Verdict != machine.Reached || o.Take != 1 || o.Epoch != 1 || o.Unkept != "" {
		t.Fatalf("exit %d, %v\n%s\n%s", code, err, out, words)
	}

	p.has("west", 100)
	p.standsBy("west", false)
	p.standsBy("east", true)
	p.refused(1, "it has ended", "recovery", "resume", o.Run, "--engine", "embedded", "--yes")

	// The engine that was lost comes back with the run.
	p.serve()
	p.until("it finds that it is not its run any more", func() bool {
		out, said, _ := p.run("drctl", "recovery", "show")
		return strings.Contains(out+said, "has taken the run up")
	})
	p.must("drctl", "recovery", "answer", "switch", "give-up", "--reason", "taken up elsewhere")
	p.standsBy("west", false)
	p.standsBy("east", true)
	p.write("west", 1)
}
