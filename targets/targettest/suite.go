package targettest

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"drctl/targets"
)

// Kit is what the suite needs to know of one kind of store. Every function
// fails the test itself when it cannot do its part.
type Kit struct {
	// Driver makes a driver that logs to the given logger.
	Driver func(t testing.TB, log *slog.Logger) targets.Driver
	// Start starts a server that accepts writes.
	Start func(t testing.TB) targets.Instance
	// Put writes something under a name; when it returns, the server has
	// acknowledged it.
	Put func(t testing.TB, in targets.Instance, name string) error
	// Names are those of everything that Put wrote, sorted.
	Names func(t testing.TB, in targets.Instance) []string
	// Empty is a sandbox to restore into, whose server does not run.
	Empty func(t testing.TB) targets.Instance
	// Stop ends the server that a restore left running.
	Stop func(t testing.TB, pid int)
	// Damage alters restored data in the instance's directory.
	Damage func(t testing.TB, in targets.Instance)
	// Turn ends a file of the log, where a server is told of whole files alone; nil elsewhere.
	Turn func(t testing.TB, in targets.Instance)
	// Apart is how far in time a write must lie from a point to be surely on one
	// side of it. Only for kinds without a log.
	Apart time.Duration
	// Acknowledged is up to where the server believes that its log is safe
	// elsewhere. Only for kinds with a log.
	Acknowledged func(t testing.TB, in targets.Instance) uint64
}

// check is one promise of the contract.
type check struct {
	name string
	of   func(targets.Traits) bool // kinds that make the promise; nil for all
	run  func(testing.TB, *bench)
}

var checks = []check{
	{"traits and interfaces agree", nil, func(t testing.TB, b *bench) { b.traits(t) }},
	{"probe", nil, func(t testing.TB, b *bench) { b.probe(t) }},
	{"base that cannot be stored", hasLog, func(t testing.TB, b *bench) { b.baseFails(t) }},
	{"restore brings back what was at the point", nil, func(t testing.TB, b *bench) { b.restore(t) }},
	{"restore leaves what is there alone", nil, func(t testing.TB, b *bench) { b.restoreRefuses(t) }},
	{"restore from a faulty source", nil, func(t testing.TB, b *bench) { b.restoreFaults(t) }},
	{"follow goes on without a gap", hasLog, func(t testing.TB, b *bench) { b.followResumes(t) }},
	{"follow acknowledges what is durable", hasLog, func(t testing.TB, b *bench) { b.followAcknowledges(t) }},
	{"follow ends with its archive", hasLog, func(t testing.TB, b *bench) { b.followEnds(t) }},
	{"member of a cut", quiesces, func(t testing.TB, b *bench) { b.member(t) }},
	{"locks end with their member", locks, func(t testing.TB, b *bench) { b.lockEnds(t) }},
	{"snapshot that cannot be stored", hasManifest, func(t testing.TB, b *bench) { b.snapshotFails(t) }},
	{"verify finds damage", nil, func(t testing.TB, b *bench) { b.verify(t) }},
}

func hasLog(t targets.Traits) bool      { return t.Log }
func hasManifest(t targets.Traits) bool { return t.Manifest }
func quiesces(t targets.Traits) bool    { return t.Quiesce }
func locks(t targets.Traits) bool       { return t.Locks }

// Run runs the suite.
func Run(t *testing.T, k Kit) {
	for _, c := range checks {
		traits := k.Driver(t, slog.New(slog.DiscardHandler)).Kind().Traits()
		if c.of == nil || c.of(traits) {
			t.Run(c.name, func(t *testing.T) { newBench(t, k).do(t, c) })
		}
	}
}

// Catches runs one check of the suite on a driver that is broken on purpose,
// and fails when the check does not.
func Catches(t *testing.T, k Kit, name string) {
	t.Helper()

	for _, c := range checks {
		if c.name != name {
			continue
		}
		r := &recorder{TB: t}

		done := make(chan struct{})
		go func() {
			defer close(done)

			b := newBench(r, k)
			b.broken = true
			b.do(r, c)
		}()

		<-done

		if !r.Failed() {
			t.Errorf("%q passes on a broken driver", name)
		}

		return
	}

	t.Fatalf("there is no check %q", name)
}

// recorder notes that a check failed instead of failing the test.
type recorder struct {
	testing.TB
	mu  sync.Mutex
	bad bool
}

func (r *recorder) Fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad = true
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()

	return r.bad
}

func (r *recorder) FailNow()                  { r.Fail(); runtime.Goexit() }
func (r *recorder) Error(a ...any)            { r.Log(a...); r.Fail() }
func (r *recorder) Errorf(f string, a ...any) { r.Logf(f, a...); r.Fail() }
func (r *recorder) Fatal(a ...any)            { r.Log(a...); r.FailNow() }
func (r *recorder) Fatalf(f string, a ...any) { r.Logf(f, a...); r.FailNow() }

// bench is one check at work: a driver, and what it says.
type bench struct {
	Kit
	d    targets.Driver
	logs logs
	told []string // the words of every error

	broken bool // the check is to fail
}

func newBench(t testing.TB, k Kit) *bench {
	b := &bench{Kit: k}
	b.d = k.Driver(t, slog.New(slog.NewTextHandler(&b.logs, &slog.HandlerOptions{Level: slog.LevelDebug})))

	return b
}

// do runs a check, and looks for the secrets of all its instances afterwards.
func (b *bench) do(t testing.TB, c check) {
	var secrets []string
	keep := func(in targets.Instance) targets.Instance {
		if !in.Password.IsZero() {
			secrets = append(secrets, in.Password.Reveal())
		}

		return in
	}
	start, empty := b.Kit.Start, b.Kit.Empty
	b.Start = func(t testing.TB) targets.Instance { return keep(start(t)) }

	b.Empty = func(t testing.TB) targets.Instance { return keep(empty(t)) }
	defer func() {
		for _, s := range append(secrets, wrongSecret) {
			if said := b.logs.String() + strings.Join(b.told, "\n"); strings.Contains(said, s) {
				t.Errorf("a secret is in an error or a log line")
			}
		}
	}()

	c.run(t, b)
}

// err keeps the words of an error, to look for secrets in them.
func (b *bench) err(err error) error {
	if err != nil {
		b.told = append(b.told, err.Error())
	}

	return err
}

type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.b.String()
}

const wrongSecret = "sesame-that-opens-nothing"

func background(t testing.TB) context.Context { return t.Context() }
