package regional_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/lab"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/restore/machine"
	"drctl/targets"
	"drctl/workflows/recovery"
)

// limit bounds what is expected to work on the slowest machine.
const limit = 5 * time.Minute

// place is a lab with the programs beside it.
type place struct {
	*testing.T
	bin, dir string
	up       *exec.Cmd
	log      string   // of drctl up
	hidden   []string // regions whose servers' directories drctl up does not see
}

// newPlace builds the programs and starts a lab of one shard of each kind; more are flags of drlab up.
func newPlace(t *testing.T, more ...string) *place {
	t.Helper()

	p := &place{T: t, bin: t.TempDir(), dir: filepath.Join(sandboxtest.Dir(t), "lab")}
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", p.bin, "drctl/cmd/drctl", "drctl/cmd/drlab").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	for _, tool := range []string{"drctl-engine", "testing/restic", "versitygw"} {
		from, err := filepath.Abs(filepath.Join("../../../bin", tool))
		if err := errors.Join(err, os.Symlink(from, filepath.Join(p.bin, filepath.Base(tool)))); err != nil {
			t.Fatal(err)
		}
	}

	t.Cleanup(func() { p.run("drlab", "down", "--dir", p.dir, "--destroy") })
	p.must("drlab", append([]string{"up", "--dir", p.dir, "--shards", "1", "--redis", "1", "--size", "16MiB", "--mode", "auto", "--cut-every", "60s"}, more...)...)
	p.must("drctl", "vault", "init")

	return p
}

func (p *place) command(program string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(p.bin, program), args...)
	c.Env = []string{"PATH=" + p.bin + ":" + os.Getenv("PATH"), "HOME=" + p.dir, "NO_COLOR=1", "DRCTL_CONFIG=" + filepath.Join(p.dir, "drctl.yaml")}
	c.Dir, c.WaitDelay = "/", 5*time.Second

	return c
}

// run returns what a program printed, and its exit status.
func (p *place) run(program string, args ...string) (out, said string, code int) {
	c := p.command(program, args...)
	var o, e bytes.Buffer
	c.Stdout, c.Stderr = &o, &e

	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		return "", err.Error(), -1
	}

	return o.String(), e.String(), c.ProcessState.ExitCode()
}

func (p *place) must(program string, args ...string) string {
	p.Helper()

	out, said, code := p.run(program, args...)
	if code != 0 {
		p.Fatalf("%s %s: exit %d\n%s\n%s", program, strings.Join(args, " "), code, out, said)
	}

	return out
}

// refused runs drctl and wants a status and words.
func (p *place) refused(code int, words string, args ...string) {
	p.Helper()

	if out, said, got := p.run("drctl", args...); got != code || !strings.Contains(out+said, words) {
		p.Errorf("drctl %s: exit %d, want %d and %q\n%s\n%s", strings.Join(args, " "), got, code, words, out, said)
	}
}

// shown runs a command about plans, and wants a status and words.
func (p *place) shown(code int, words string, args ...string) {
	p.Helper()

	switch args[len(args)-1] {
	case "show", "forecast":
		args = append(args, "--to", "west", "--stay", "media")
	}

	p.refused(code, words, args...)
}

// serve starts drctl up and waits until it is ready.
func (p *place) serve() {
	p.Helper()

	p.up = p.without(p.command("drctl", "up"), p.hidden...)
	log := filepath.Join(p.bin, fmt.Sprintf("up-%d.log", time.Now().UnixNano()))
	p.log = log

	f, err := os.Create(log)
	if err != nil {
		p.Fatal(err)
	}
	defer f.Close()

	p.up.Stdout, p.up.Stderr = f, f
	if err := p.up.Start(); err != nil {
		p.Fatal(err)
	}
	up := p.up

	p.Cleanup(func() {
		_ = up.Process.Signal(syscall.SIGTERM)
		_ = up.Wait()
	})
	p.until("drctl up is ready", func() bool {
		b, _ := os.ReadFile(log)
		return bytes.Contains(b, []byte("drctl: up after"))
	})
}

func (p *place) until(what string, f func() bool) {
	p.Helper()

	for end := time.Now().Add(limit); !f(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("it never happens: %s", what)
		}
	}
}

// over runs a recovery to its end and wants a verdict.
func (p *place) over(want machine.Verdict, args ...string) recovery.Out {
	p.Helper()

	out, said, code := p.run("drctl", append(args, "--stay", "media", "--yes", "--json")...)

	var o recovery.Out
	if err := json.Unmarshal([]byte(out), &o); err != nil || o.Verdict != want || code != 0 {
		p.Fatalf("drctl %s: exit %d, %v, %s\n%s", strings.Join(args, " "), code, err, o.Verdict, said)
	}

	return o
}

// instance is the PostgreSQL server of a region.
func (p *place) instance(region string) targets.Instance {
	p.Helper()

	l, err := lab.Open(p.dir, sandboxtest.Tools(p.T))
	if err != nil {
		p.Fatal(err)
	}

	in, err := l.Instance(region, targets.ShardID{Target: "orders", Shard: "0"})
	if err != nil {
		p.Fatal(err)
	}

	return in
}

func (p *place) connect(region string) *pgx.Conn {
	p.Helper()

	c, err := connectTo(p.Context(), p.instance(region))
	if err != nil {
		p.Fatal(err)
	}

	return c
}

func connectTo(ctx context.Context, in targets.Instance) (*pgx.Conn, error) {
	return pgx.Connect(ctx, "postgres://drctl:"+in.Password.Reveal()+"@"+in.Address+"/shop")
}

func (p *place) exec(region, text string) {
	p.Helper()
	c := p.connect(region)
	defer c.Close(p.Context())

	if _, err := c.Exec(p.Context(), text); err != nil {
		p.Fatalf("%s: %v", text, err)
	}
}

// sql asks the shop's database of a region.
func (p *place) sql(region, text string) (said string) {
	p.Helper()
	c := p.connect(region)
	defer c.Close(p.Context())

	if err := c.QueryRow(p.Context(), text).Scan(&said); err != nil {
		p.Fatalf("%s: %v", text, err)
	}

	return said
}

// write commits so many rows in a region, which has to be the primary's, and counts all.
func (p *place) write(region string, n int) {
	p.Helper()
	p.sql(region, "WITH x AS (INSERT INTO kept SELECT FROM generate_series(1, "+strconv.Itoa(n)+") RETURNING 1) SELECT count(*)::text FROM x")
}

func (p *place) has(region string, n int) {
	p.Helper()

	if got := p.sql(region, "SELECT count(*)::text FROM kept"); got != strconv.Itoa(n) {
		p.Errorf("%s has %s of %d rows", region, got, n)
	}
}

// standsBy wants a region's server to be a standby, or not.
func (p *place) standsBy(region string, want bool) {
	p.Helper()

	if got := p.sql(region, "SELECT pg_is_in_recovery()::text"); got != strconv.FormatBool(want) {
		p.Errorf("%s is a standby: %s", region, got)
	}
}

// TestThereAndBackAndWithoutARegion moves a platform to its other region and home
// again, kills the worker in the middle of that, then loses the region and brings the
// other one up with an engine of the command's own.
func TestThereAndBackAndWithoutARegion(t *testing.T) {
	p := newPlace(t)
	p.refused(2, "media/0 has no instance in west", "switchover", "run", "--yes")
	p.refused(2, "nonsense", "switchover", "run", "--yes", "--stay", "nonsense")
	p.refused(2, "add --yes", "switchover", "run", "--stay", "media")

	p.serve()
	p.must("drctl", "backup", "now")
	p.exec("east", "CREATE TABLE kept ()")
	p.write("east", 100)

	o := p.over(machine.Reached, "switchover", "run", "--to", "west")
	if o.Epoch != 1 || !o.Past || len(o.Answers) > 0 {
		t.Errorf("%+v", o)
	}

	p.shown(0, "verified until", "plan", "show")
	p.shown(0, "promote-orders/0", "plan", "forecast")
	p.shown(4, "the failover of shop from west to east is not verified", "status")

	p.has("west", 100)
	p.standsBy("west", false)
	p.standsBy("east", true)
	p.write("west", 50)
	p.must("drctl", "cut", "now")
	p.refused(1, "", "switchover", "run", "--yes", "--stay", "media") // the east is no primary any more
	p.shown(0, "UNVERIFIED: its newest run", "plan", "show")
	p.shown(0, "taken-back", "plan", "history")

	p.killedInTheMiddle()
	p.has("east", 150)
	p.standsBy("east", false)
	p.standsBy("west", true)
	p.must("drctl", "cut", "now")

	// Whatever a person says: a side that answers and takes writes is not silent.
	p.refused(1, "it answers and takes writes", "failover", "run", "--stay", "media", "--yes", "--vouch", "I think so")
	p.standsBy("west", true)
	p.asks("it answers and takes writes", "--fence", "/bin/true", "--vouch", "I think so")

	p.lost()
	p.has("west", 150)
	p.standsBy("west", false)
}

// hangs has the primary of a region stopped by a program that hangs the first time. It
// returns where the program notes its parent and itself then.
func (p *place) hangs(region, role string) (mark string) {
	p.Helper()

	mark, script := filepath.Join(p.dir, "mark-"+region), filepath.Join(p.dir, "stop-"+region+".sh")
	tools := sandboxtest.Tools(p.T)

	as := ""
	if os.Geteuid() == 0 {
		as = "runuser -u postgres -- "
	}

	in := p.instance(region)

	text := fmt.Sprintf("#!/bin/sh\nif ! [ -e %[1]s ]; then echo $PPID $$ > %[1]s.new; mv %[1]s.new %[1]s; exec sleep 600; fi\nexec %[2]s%[3]s/pg_ctl stop -w -m fast -D %[4]s\n",
		mark, as, tools.PostgresBin, in.DataDir)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		p.Fatal(err)
	}

	config := filepath.Join(p.dir, "drctl.yaml")

	b, err := os.ReadFile(config)
	if err != nil {
		p.Fatal(err)
	}

	with := strings.Replace(string(b), "role: "+role+", data_dir: "+in.DataDir, "role: "+role+", stop: ["+script+"], data_dir: "+in.DataDir, 1)
	if err := os.WriteFile(config, []byte(with), 0o600); err != nil || with == string(b) {
		p.Fatal("the configuration has no such instance", err)
	}

	return mark
}

// stopping waits until the program has begun, and returns who called it, and itself.
func (p *place) stopping(mark string) (worker, stopper int) {
	p.Helper()
	p.until("the old primary is being stopped", func() bool {
		b, _ := os.ReadFile(mark)
		n, _ := fmt.Sscan(string(b), &worker, &stopper)

		return n == 2
	})

	return worker, stopper
}

// killedInTheMiddle goes home again, by a program that stops the primary. The first
// time it hangs, and the worker that has started it is killed. The next worker goes on.
func (p *place) killedInTheMiddle() {
	p.Helper()

	mark := p.hangs("west", "standby")
	_ = p.up.Process.Signal(syscall.SIGTERM)
	_ = p.up.Wait()
	p.serve()

	ended := make(chan string, 1)
	go func() {
		out, said, code := p.run("drctl", "failback", "run", "--stay", "media", "--yes", "--json")
		ended <- fmt.Sprintf("exit %d\n%s\n%s", code, out, said)
	}()

	worker, stopper := p.stopping(mark)

	// What it had started is not to come back either.
	if err := errors.Join(syscall.Kill(worker, syscall.SIGKILL), syscall.Kill(stopper, syscall.SIGKILL)); err != nil {
		p.Error(err)
	}

	select {
	case s := <-ended:
		if !strings.HasPrefix(s, "exit 0") || !strings.Contains(s, `"reached"`) {
			p.Fatal(s)
		}
	case <-time.After(limit):
		p.Fatal("nobody has gone on")
	}
}

// asks runs a failover that asks people, until it is interrupted: nothing is promoted.
func (p *place) asks(words string, args ...string) {
	p.Helper()

	c := p.command("drctl", append([]string{"failover", "run", "--stay", "media", "--yes"}, args...)...)

	var said lines
	c.Stderr = &said

	if err := c.Start(); err != nil {
		p.Fatal(err)
	}

	p.until("it says "+words, func() bool { return strings.Contains(said.String(), words) })
	_ = c.Process.Signal(syscall.SIGINT)
	_ = c.Wait()

	if code := c.ProcessState.ExitCode(); code != 1 || !strings.Contains(said.String(), "nothing was promoted") {
		p.Errorf("exit %d\n%s", code, said.String())
	}

	p.standsBy("west", true)
}

// lost loses the east with its engine. A failover promotes nothing while nothing shows
// that the old side is silent, and with a program that says so it does.
func (p *place) lost() {
	p.Helper()

	_ = p.up.Process.Kill()
	_ = p.up.Wait()
	p.must("drlab", "break", "--dir", p.dir, "region", "east")

	// Nobody answers for the silence of the east.
	p.asks("fence-orders/0: it failed", "--engine", "embedded", "--fence", "/bin/false")

	o := p.over(machine.Reached, "failover", "run", "--engine", "embedded", "--vouch", "the lab says that its disks are gone")
	if len(o.Answers) != 2 || !o.Answers[0].Taken {
		p.Errorf("%+v", o.Answers)
	}
}

// lines is what a program has said so far.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.b.String()
}
