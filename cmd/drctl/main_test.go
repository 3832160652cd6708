package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests of this package drive the built command as a user would: one
// binary and small labs of real servers. A test that ends with its lab broken,
// or needs it undisturbed, has one of its own (ownLab); the others take turns
// on a shared one (sharedLab). TestMain removes what was built and the shared
// lab.

// cmdTimeout bounds one command; none should need it.
const cmdTimeout = 8 * time.Minute

// programs are the built commands, beside what they need.
var programs struct {
	sync.Once
	drctl, drlab string
	err          error
}

// shared is the lab of the tests that leave it whole.
var shared *world

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if os.Getenv("DRCTL_TEST_MAIN") != "" { // it is drctl, and may be killed: see TestAsDrctl
		return m.Run()
	}
	bin, err := makeDir()

	lab, labErr := makeDir() // beside it: names of sockets in a lab have to be short
	if err := errors.Join(err, labErr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	programs.drctl, programs.drlab = filepath.Join(bin, "drctl"), filepath.Join(bin, "drlab")

	shared = newWorld(lab, labShape{shards: 2, cutEvery: "20s"})
	defer func() {
		if err := errors.Join(shared.remove(), os.RemoveAll(bin)); err != nil {
			fmt.Fprintln(os.Stderr, "tests left something behind:", err)
		}
	}()

	return m.Run()
}

// makeDir makes a directory that PostgreSQL can traverse: it runs under another
// user when the tests run as root.
func makeDir() (string, error) {
	dir, err := os.MkdirTemp("", "drctl-cmd-")
	if err != nil {
		return "", err
	}

	return dir, os.Chmod(dir, 0o755)
}

// world is a lab, and all that was ever printed in it.
type world struct {
	dir, lab string // of everything; of the lab
	shape    labShape

	turn   sync.Mutex // held by the test that uses the shared lab
	labbed sync.Once
	err    error

	mu      sync.Mutex
	printed bytes.Buffer // every output but those that show passwords on purpose
	up      *process
	traffic *process
}

// labShape is how large a lab is and how often drctl up takes cuts in it.
type labShape struct {
	shards   int
	redis    int // masters; 0 means one
	cutEvery string
	mode     string // of cuts; "" means gate
}

func newWorld(dir string, s labShape) *world {
	return &world{dir: dir, lab: filepath.Join(dir, "lab"), shape: s}
}

// ownLab is a lab of the test's own, which runs beside other tests. It is made
// when the test asks for it (ready, running) and removed with the test.
func ownLab(t *testing.T, s labShape) *world {
	t.Helper()
	t.Parallel()

	return newLab(t, s)
}

// newLab is such a lab for a part of a test, one part after the other.
func newLab(t *testing.T, s labShape) *world {
	t.Helper()

	dir, err := makeDir()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(dir, s)
	t.Cleanup(func() {
		if err := w.remove(); err != nil {
			t.Error("left behind:", err)
		}
	})

	return w
}

// sharedLab is the shared lab, which is the test's until it ends. What a failed
// test left in its sandboxes is removed first.
func sharedLab(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := shared
	w.turn.Lock()
	t.Cleanup(w.turn.Unlock)
	w.ready(t)

	for _, b := range w.boxes() {
		w.run(t, "sandbox", "rm", b)
	}

	return w
}

// boxes are the directories of the lab's sandboxes.
func (w *world) boxes() (dirs []string) {
	records, _ := filepath.Glob(filepath.Join(w.lab, "sandbox", "*", "sandbox.json"))
	for _, r := range records {
		dirs = append(dirs, filepath.Dir(r))
	}

	return dirs
}

// build builds drctl and drlab beside the programs that they need.
func build(t *testing.T) {
	t.Helper()
	programs.Do(func() {
		programs.err = func() error {
			bin := filepath.Dir(programs.drctl)

			out, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin, ".", "../drlab").CombinedOutput()
			if err != nil {
				return fmt.Errorf("go build: %w\n%s", err, out)
			}

			for _, tool := range []string{"drctl-engine", "testing/restic", "versitygw"} {
				p, err := filepath.Abs(filepath.Join("..", "..", "bin", tool))
				if err == nil {
					_, err = os.Stat(p)
				}

				if err != nil {
					if p, err = exec.LookPath(filepath.Base(tool)); err != nil {
						return fmt.Errorf("%s is not built (make tools): %w", tool, err)
					}
				}

				if err := os.Symlink(p, filepath.Join(bin, filepath.Base(tool))); err != nil {
					return err
				}
			}

			return nil
		}()
	})

	if programs.err != nil {
		t.Fatal(programs.err)
	}
}

// patient gives recovery the time that it takes beside other tests: how long it
// may take is not what is tested.
func (w *world) patient() error {
	b, err := os.ReadFile(w.config())
	if err != nil {
		return err
	}

	return os.WriteFile(w.config(), bytes.ReplaceAll(b, []byte("{rto: 60s,"), []byte("{rto: 10m,")), 0o600)
}

// ready makes the lab and starts its servers, once.
func (w *world) ready(t *testing.T) {
	t.Helper()
	w.labbed.Do(func() {
		w.err = func() error {
			r := w.start(t, runOptions{program: "drlab"}, "up", "--dir", w.lab, "--shards", fmt.Sprint(w.shape.shards), "--redis", fmt.Sprint(max(w.shape.redis, 1)),
				"--mode", cmp.Or(w.shape.mode, "gate"), "--cut-every", w.shape.cutEvery, "--size", "16MiB").wait(t)
			if r.code != 0 {
				return fmt.Errorf("drlab up: exit %d\n%s", r.code, r.err)
			}

			return w.patient()
		}()
	})

	if w.err != nil {
		t.Fatal(w.err)
	}
}

func (w *world) config() string { return filepath.Join(w.lab, "drctl.yaml") }

// env is all that the commands see of the environment.
func (w *world) env(config string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "TMPDIR=" + w.dir, "NO_COLOR=1", "LC_ALL=C.UTF-8"}
	if config != "" {
		env = append(env, "DRCTL_CONFIG="+config)
	}

	return env
}

// result is what a command printed and how it ended.
type result struct {
	args     []string
	out, err string
	code     int
}

func (r result) String() string {
	return fmt.Sprintf("drctl %s: exit %d\nstdout:\n%s\nstderr:\n%s", strings.Join(r.args, " "), r.code, tail(r.out), tail(r.err))
}

func tail(s string) string {
	if len(s) > 6000 {
		return "[...] " + s[len(s)-6000:]
	}

	return s
}

// process is a command that runs.
type process struct {
	w        *world
	cmd      *exec.Cmd
	args     []string
	out, err *lockedBuffer
	ended    chan struct{}
	werr     error
	hide     bool
}

type runOptions struct {
	program string // drctl or drlab; "" for drctl
	config  string // "-" for none
	dir     string
	hide    bool // shows passwords on purpose
	env     []string
	wrap    []string // program and arguments before drctl
}

// start starts a command.
func (w *world) start(t *testing.T, o runOptions, args ...string) *process {
	t.Helper()

	config := o.config
	switch config {
	case "":
		config = w.config()
	case "-":
		config = ""
	}

	build(t)
	program := filepath.Join(filepath.Dir(programs.drctl), cmp.Or(o.program, "drctl"))
	argv := append(append(o.wrap, program), args...)
	p := &process{w: w, cmd: exec.Command(argv[0], argv[1:]...), args: args, out: &lockedBuffer{}, err: &lockedBuffer{}, ended: make(chan struct{}), hide: o.hide}

	p.cmd.Env, p.cmd.Dir = append(w.env(config), o.env...), o.dir
	if o.dir == "" {
		p.cmd.Dir = w.dir
	}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	// Nothing outlives the tests, however they end.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}

	p.cmd.WaitDelay = 5 * time.Second
	if err := startLocked(p.cmd); err != nil {
		t.Fatalf("%s %s: %v", filepath.Base(program), strings.Join(args, " "), err)
	}

	go func() {
		p.werr = p.cmd.Wait()
		if !p.hide {
			w.mu.Lock()
			w.printed.WriteString(p.out.String() + p.err.String())
			w.mu.Unlock()
		}

		close(p.ended)
	}()

	return p
}

// spawner is one thread that never ends: the signal at a parent's death comes
// when the thread that started the child ends.
var spawner = sync.OnceValue(func() chan<- func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range c {
			f()
		}
	}()
	return c
})

func startLocked(c *exec.Cmd) error {
	done := make(chan error, 1)
	spawner() <- func() { done <- c.Start() }

	return <-done
}

// stuck says what the platform does while a command does not end: what runs, what the restores
// among it wait for, and what drctl up has said last.
func (p *process) stuck(t *testing.T) {
	t.Helper()

	ask := func(limit time.Duration, args ...string) string {
		ctx, stop := context.WithTimeout(context.Background(), limit)
		defer stop()

		cmd := exec.CommandContext(ctx, programs.drctl, args...)
		cmd.Env, cmd.Dir = p.cmd.Env, p.cmd.Dir
		out, _ := cmd.CombinedOutput()

		return string(out)
	}

	list := ask(30*time.Second, "runs", "list")
	t.Logf("while it does not end:\n%s", tail(list))

	for line := range strings.Lines(list) {
		if id, _, _ := strings.Cut(line, " "); strings.Contains(id, "restore") {
			t.Logf("%s waits for:\n%s", id, tail(ask(10*time.Second, "runs", "attach", id)))
		}
	}

	if up := p.w.up; up != nil && up != p {
		t.Logf("drctl up has said last:\n%s", tail(up.err.String()))
	}
}

// wait waits for the command's end.
func (p *process) wait(t *testing.T) result {
	t.Helper()

	select {
	case <-p.ended:
	case <-time.After(cmdTimeout):
		p.stuck(t)

		_ = p.cmd.Process.Kill()
		<-p.ended
		t.Errorf("drctl %s did not end within %s\n%s\n%s", strings.Join(p.args, " "), cmdTimeout, tail(p.out.String()), tail(p.err.String()))
	}

	r := result{args: p.args, out: p.out.String(), err: p.err.String(), code: p.cmd.ProcessState.ExitCode()}
	r.asDocumented(t, p.program())

	return r
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// run runs a command to its end.
func (w *world) run(t *testing.T, args ...string) result {
	t.Helper()
	return w.start(t, runOptions{}, args...).wait(t)
}

// inLab runs a command of drlab, which has to succeed.
func (w *world) inLab(t *testing.T, args ...string) result {
	t.Helper()

	r := w.start(t, runOptions{program: "drlab"}, append(args, "--dir", w.lab)...).wait(t)
	if r.code != 0 {
		t.Fatal(r)
	}

	return r
}

// must runs a command that has to succeed and returns what it printed.
func (w *world) must(t *testing.T, args ...string) string {
	t.Helper()

	r := w.run(t, args...)
	if r.code != 0 {
		t.Fatal(r)
	}

	return r.out
}

// expect runs a command and checks its exit status and that its output holds
// every one of the texts.
func (w *world) expect(t *testing.T, code int, texts []string, args ...string) result {
	t.Helper()
	r := w.run(t, args...)
	r.expect(t, code, texts...)

	return r
}

func (r result) expect(t *testing.T, code int, texts ...string) {
	t.Helper()

	if r.code != code {
		t.Errorf("exit %d, want %d: %s", r.code, code, r)
		return
	}

	for _, x := range texts {
		if !strings.Contains(r.out+r.err, x) {
			t.Errorf("the output does not hold %q: %s", x, r)
		}
	}
}

// decode decodes what a command printed as JSON.
func decode[T any](t *testing.T, out string) T {
	t.Helper()

	var v T
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, tail(out))
	}

	return v
}

// startUp starts drctl up and waits until it is up.
func (w *world) startUp(t *testing.T) {
	t.Helper()

	if w.up != nil && w.up.running() {
		return
	}
	w.up = w.start(t, runOptions{}, "up")
	waitUp(t, w.up)
}

func waitUp(t *testing.T, p *process) {
	t.Helper()
	eventually(t, 3*time.Minute, "drctl up is up", func() error {
		if !p.running() {
			t.Fatal(p.wait(t))
		}

		if !strings.Contains(p.out.String(), "drctl: up after") {
			return errors.New(tail(p.err.String()))
		}

		return nil
	})
}

// stopUp stops drctl up as an operator would.
func (w *world) stopUp(t *testing.T) {
	t.Helper()

	if w.up == nil || !w.up.running() {
		return
	}

	w.up.signal(syscall.SIGTERM)
	w.up.wait(t)
}

// startTraffic lets customers buy, slowly.
func (w *world) startTraffic(t *testing.T) {
	t.Helper()

	if w.traffic != nil && w.traffic.running() {
		return
	}
	w.traffic = w.start(t, runOptions{program: "drlab"}, "traffic", "--dir", w.lab, "--rate", "25", "--clients", "3", "--quiet", "--json")
}

func (w *world) stopTraffic(t *testing.T) result {
	t.Helper()

	if w.traffic == nil {
		return result{}
	}

	w.traffic.signal(syscall.SIGTERM)

	return w.traffic.wait(t)
}

// eventually tries until it succeeds.
func eventually(t *testing.T, within time.Duration, what string, f func() error) {
	t.Helper()

	end := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}

		if time.Now().After(end) {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}

		time.Sleep(100 * time.Millisecond)
	}
}

// remove ends everything and removes the lab.
func (w *world) remove() error {
	for _, p := range []*process{w.traffic, w.up} {
		if p == nil || !p.running() {
			continue
		}

		p.signal(syscall.SIGTERM)

		select {
		case <-p.ended:
		case <-time.After(2 * time.Minute):
			_ = p.cmd.Process.Kill()
			<-p.ended
		}
	}
	var errs []error

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()

	command := func(program string, args ...string) {
		c := exec.CommandContext(ctx, program, args...)

		c.Env = w.env(w.config())
		if out, err := c.CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("%s %v: %w: %s", filepath.Base(program), args, err, out))
		}
	}
	for _, b := range w.boxes() {
		command(programs.drctl, "sandbox", "rm", b)
	}

	if _, err := os.Stat(filepath.Join(w.lab, "lab.json")); err == nil {
		command(programs.drlab, "down", "--dir", w.lab, "--destroy")
	}

	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// lockedBuffer is a buffer that a running command writes and a test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.b.String()
}
