package redis

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/redis/reply"
)

// archived makes a small archive: a base, then transactions that move between
// two counters.
func archived(t testing.TB, d *Driver) (*memory, targets.Position) {
	t.Helper()
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{Settings: map[string]string{"appendonly": "yes"}})
	m := newMemory(t)
	stop := follow(t, d, in, m)
	waitFor(t, "start", func() bool { _, ok := m.Tail(); return ok })
	w := newWriter(t, in, seeded(t))
	must(t, w.prepare())
	w.steps(t, 100)

	c := dbClient(t, in, 3)
	for range 20 {
		p := c.TxPipeline()
		p.IncrBy(ctx, "left", 1)
		p.DecrBy(ctx, "right", 1)
		_, err := p.Exec(ctx)
		must(t, err)
	}

	must(t, c.Set(ctx, "gone", "x", 50*time.Millisecond).Err())
	end := caughtUp(t, in, m)
	_ = stop()

	return m, end
}

func TestRestoreCutsBetweenCommands(t *testing.T) {
	d := driver(t)
	m, end := archived(t, d)
	base, _ := m.path(end)
	all, err := m.bytes(targets.Span{Timeline: end.Timeline, From: base.From.Offset, To: end.Offset})
	must(t, err)
	// Into the middle of the last transaction.
	cut := base.From.Offset + uint64(bytes.LastIndex(all, []byte("right")))
	point := targets.Position{Kind: targets.Redis, Timeline: end.Timeline, Offset: cut}
	dir := filepath.Join(sandboxtest.Dir(t), "x")

	_, err = d.Restore(ctx, targets.Instance{Shard: targets.ShardID{Target: "carts", Shard: "0"}, DataDir: dir}, targets.RestoreRequest{Base: base, Point: point}, m)
	if !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), "inside a command or a transaction") {
		t.Fatalf("error %v", err)
	}
	in := restoreTo(t, d, m, targets.RestoreRequest{Base: base, Point: point, Until: time.Now()})
	c := dbClient(t, in, 3)
	left, err := c.Get(ctx, "left").Int()
	must(t, err)
	right, err := c.Get(ctx, "right").Int()
	must(t, err)

	if left != 19 || right != -19 {
		t.Fatalf("left %d right %d", left, right)
	}
}

func TestRestoreToOtherRolesLeavesTheDirectory(t *testing.T) {
	d := driver(t)
	m, end := archived(t, d)
	base, path := m.path(end)
	dir := filepath.Join(sandboxtest.Dir(t), "data")
	in := targets.Instance{Shard: targets.ShardID{Target: "carts", Shard: "0"}, Role: targets.Primary, DataDir: dir}
	out, err := d.Restore(ctx, in, targets.RestoreRequest{Base: base, Point: end, Path: path}, m)
	must(t, err)

	if out.Pid != 0 || out.Reached != end || out.Phases["load"] == 0 || out.Bytes == 0 {
		t.Fatalf("%+v", out)
	}
	es, err := os.ReadDir(dir)
	must(t, err)

	if len(es) != 2 {
		t.Fatalf("left behind: %v", es)
	}
	st, err := os.Stat(filepath.Join(dir, aofDir, incrFile))
	must(t, err)

	if uint64(st.Size()) != end.Offset-base.From.Offset {
		t.Fatalf("%d bytes, want %d", st.Size(), end.Offset-base.From.Offset)
	}

	f, ok, err := checkRestored(ctx, dir, nil)
	if err != nil || !ok || f.Severity != targets.Passed {
		t.Fatalf("%+v %v %v", f, ok, err)
	}
	// A second restore finds it not empty.
	if _, err := d.Restore(ctx, in, targets.RestoreRequest{Base: base, Point: end, Path: path}, m); !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), "not empty") {
		t.Fatalf("error %v", err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	d := driver(t)
	m, end := archived(t, d)
	base, path := m.path(end)
	running := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	fresh := func() string { return filepath.Join(sandboxtest.Dir(t), "data") }
	ok := targets.RestoreRequest{Base: base, Point: end, Path: path}
	gap := ok
	gap.Path = []targets.Span{{Timeline: end.Timeline, From: base.From.Offset + 1, To: end.Offset}}
	short := ok
	short.Point.Offset++
	delta := ok
	delta.Delta = true
	full := fresh()
	must(t, os.MkdirAll(filepath.Join(full, aofDir), 0o755))

	for _, c := range []struct {
		name string
		in   targets.Instance
		req  targets.RestoreRequest
		code fail.Code
	}{
		{"running", targets.Instance{Address: running.Address, DataDir: fresh()}, ok, fail.Conflict},
		{"no directory", targets.Instance{}, ok, fail.Invalid},
		{"delta over files", targets.Instance{DataDir: full}, delta, fail.Conflict},
		{"gap in the path", targets.Instance{DataDir: fresh()}, gap, fail.Invalid},
		{"path too short", targets.Instance{DataDir: fresh()}, short, fail.Invalid},
	} {
		if _, err := d.Restore(ctx, c.in, c.req, m); !fail.Is(err, c.code) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Damage to what is restored never becomes a running server.
func TestRestoreFindsPlantedDamage(t *testing.T) {
	d := driver(t)
	m, end := archived(t, d)
	base, path := m.path(end)
	image := m.images[base.Snapshot]
	stream := m.timelines[end.Timeline]
	whole, err := m.bytes(targets.Span{Timeline: end.Timeline, From: stream.start, To: end.Offset})
	must(t, err)
	try := func(name string, want fail.Code) {
		t.Helper()
		dir := filepath.Join(sandboxtest.Dir(t), "data")

		_, err := d.Restore(ctx, targets.Instance{Shard: targets.ShardID{Target: "carts", Shard: "0"}, Role: targets.Sandbox, DataDir: dir},
			targets.RestoreRequest{Base: base, Point: end, Path: path}, m)
		if !fail.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	flip := func(b []byte, i int) []byte {
		c := bytes.Clone(b)
		c[i] ^= 0x01

		return c
	}
	m.images[base.Snapshot] = flip(image, len(image)/2)

	try("flipped byte in the image", fail.Corrupt)
	m.images[base.Snapshot] = image[:len(image)-3]

	try("image cut short", fail.Corrupt)
	m.images[base.Snapshot] = append([]byte("X"), image[1:]...)

	try("no image", fail.Corrupt)
	m.images[base.Snapshot] = image
	at := bytes.Index(whole, []byte("$4\r\nleft"))
	stream.parts = []memPart{{stream.start, flip(whole, at)}}

	try("flipped byte in the stream's framing", fail.Corrupt)
	stream.parts = []memPart{{stream.start, whole[:at]}, {stream.start + uint64(at) + 5, whole[at+5:]}}

	try("bytes missing in the stream", fail.NotFound)
	stream.parts = []memPart{{stream.start, append(bytes.Clone(whole[:at]), append(whole[at+14:], make([]byte, 14)...)...)}}

	try("bytes lost in the stream", fail.Corrupt)
}

// Without an operator an answer is a text; after one it is an exact, finite number or no pass.
func TestVerifyComparesAsDocumented(t *testing.T) {
	d := driver(t)
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	cases := []struct {
		query, want string
		severity    targets.Severity
		why         string
	}{
		{"ECHO 5.00", "5", targets.Failed, ""},
		{"ECHO 5.00", "= 5", targets.Passed, ""},
		{"ECHO 9007199254740993", "= 9007199254740992", targets.Failed, ""},
		{"ECHO 9007199254740993", "<= 9007199254740992", targets.Failed, ""},
		{"ECHO 9007199254740993", "> 9007199254740992", targets.Passed, ""},
		{"ECHO nan", "5", targets.Failed, ""},
		{"ECHO nan", "= 5", targets.Failed, "not a finite number"},
		{"ECHO nan", ">= 5", targets.Failed, "not a finite number"},
		{"ECHO inf", "> 5", targets.Failed, "not a finite number"},
		{"ECHO many", "> 5", targets.Failed, "is none"},
		{"KEYS nobody:*", "!= 5", targets.Failed, "returned nothing"},
		{"GET nobody", "< 5", targets.Failed, "returned nothing"},
		{"GET nobody", "(nil)", targets.Passed, ""},
	}

	want := targets.Expectation{Quick: true}
	for i, c := range cases {
		want.Assertions = append(want.Assertions, targets.Assertion{Name: fmt.Sprint(i), Query: c.query, Want: c.want})
	}
	fs, err := d.Verify(ctx, in, want)
	must(t, err)

	for i, c := range cases {
		for _, f := range fs {
			if f.Check == fmt.Sprint("assertion ", i) && (f.Severity != c.severity || !strings.Contains(f.Detail, c.why)) {
				t.Errorf("%s against %s: %+v", c.query, c.want, f)
			}
		}
	}
}

func TestVerify(t *testing.T) {
	d := driver(t)
	m, end := archived(t, d)
	in := sandboxAt(t, d, m, end)
	verify := func(w targets.Expectation) map[string]targets.Finding {
		t.Helper()
		fs, err := d.Verify(ctx, in, w)
		must(t, err)

		out := map[string]targets.Finding{}
		for _, f := range fs {
			out[f.Check] = f
		}

		return out
	}

	got := verify(targets.Expectation{Assertions: []targets.Assertion{
		{Name: "left", Query: "-n 3 GET left", Want: "20"},
		{Name: "sum", Query: `-n 3 EVAL "return redis.call('GET','left') + redis.call('GET','right')" 0`, Want: "=0"},
		{Name: "wrong", Query: "-n 3 GET left", Want: ">20"},
		{Name: "refused", Query: "NOSUCHCOMMAND", Want: "1"},
		{Name: "none", Query: "GET nothing", Want: "(nil)"},
	}})
	for name, sev := range map[string]targets.Severity{"ping": "passed", "loading": "passed", "keys": "passed", "assertion left": "passed", "assertion sum": "passed",
		"assertion wrong": "failed", "assertion refused": "failed", "assertion none": "passed", "redis-check-aof": "passed", "restored-files": "passed"} {
		if got[name].Severity != sev {
			t.Errorf("%s: %+v", name, got[name])
		}
	}

	if got["assertion left"].Query == "" || strings.Contains(got["assertion left"].Query, "GET") {
		t.Errorf("the query is not a hash: %q", got["assertion left"].Query)
	}
	incr, base := filepath.Join(in.DataDir, aofDir, incrFile), filepath.Join(in.DataDir, aofDir, baseFile)
	damage := func(path string, at int) func() {
		b, err := os.ReadFile(path)
		must(t, err)
		c := bytes.Clone(b)
		c[at] ^= 1
		must(t, os.WriteFile(path, c, 0o600))

		return func() { must(t, os.WriteFile(path, b, 0o600)) }
	}
	b, err := os.ReadFile(incr)
	must(t, err)
	undo := damage(incr, bytes.Index(b, []byte("$4\r\nleft")))

	if f := verify(targets.Expectation{}); f["redis-check-aof"].Severity != targets.Failed || f["restored-files"].Severity != targets.Failed {
		t.Errorf("damaged framing was not found: %+v", f)
	}

	undo()
	undo = damage(incr, bytes.Index(b, []byte("left"))+1)

	if f := verify(targets.Expectation{}); f["restored-files"].Severity != targets.Failed {
		t.Errorf("a changed key name was not found: %+v", f)
	}

	undo()
	b, err = os.ReadFile(base)
	must(t, err)
	undo = damage(base, len(b)/2)

	if f := verify(targets.Expectation{}); f["restored-files"].Severity != targets.Failed {
		t.Errorf("a damaged image was not found: %+v", f)
	}

	undo()

	if f := verify(targets.Expectation{}); f["restored-files"].Severity != targets.Passed || f["redis-check-aof"].Severity != targets.Passed {
		t.Errorf("%+v", f)
	}

	must(t, dbClient(t, in, 3).Del(ctx, "left").Err())

	if f := verify(targets.Expectation{Quick: true})["keys"]; f.Severity != targets.Failed || f.Got == f.Expected {
		t.Errorf("a lost key was not found: %+v", f)
	}

	in.Role = targets.Primary // of which nobody says how many keys it must hold
	if f := verify(targets.Expectation{Quick: true})["keys"]; f.Severity != targets.Skipped || f.Got == "" {
		t.Errorf("a number without an expectation passed: %+v", f)
	}
}

func TestJoinRefuses(t *testing.T) {
	d := driver(t)
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{})

	req := targets.JoinRequest{CutID: "c", Group: "shop"}
	if _, err := d.Join(ctx, in, req); !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "archiver") {
		t.Errorf("a server that does not number its writes: %v", err)
	}
	rep := sandboxtest.RedisReplica(t, in, sandboxtest.RedisOptions{})
	waitFor(t, "the replica", func() bool {
		m, err := info(ctx, dbClient(t, rep, 0), "replication")
		return err == nil && m["master_link_status"] == "up"
	})

	if _, err := d.Join(ctx, rep, req); !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), in.Address) {
		t.Errorf("a replica: %v", err)
	}
	gate := req

	gate.Gate = true
	if _, err := d.Join(ctx, in, gate); !fail.Is(err, fail.Unsupported) {
		t.Errorf("gate: %v", err)
	}
	bad := in

	bad.Password = targets.NewSecret("not-it-either")
	for name, err := range map[string]error{
		"join":   second(d.Join(ctx, bad, req)),
		"probe":  second(d.Probe(ctx, bad)),
		"base":   second(d.Base(ctx, bad, targets.BaseRequest{}, newMemory(t))),
		"verify": second(d.Verify(ctx, bad, targets.Expectation{})),
		"follow": d.Follow(ctx, bad, newMemory(t)),
	} {
		if !fail.Is(err, fail.Denied) || strings.Contains(err.Error(), "not-it-either") || !strings.Contains(err.Error(), in.Address) {
			t.Errorf("%s with a wrong password: %v", name, err)
		}
	}
	gone := in

	gone.Address = "127.0.0.1:1"
	if _, err := d.Probe(ctx, gone); !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("nobody there: %v", err)
	}

	old := map[string]string{"redis_version": "6.2.1"}
	if err := checkVersion("x", in, old); !fail.Is(err, fail.Unsupported) || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("old: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// A user with exactly the documented rights can do everything but assertions;
// one without scripts gets an error that says what to grant.
func TestLeastRights(t *testing.T) {
	d := driver(t)
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	admin := dbClient(t, in, 0)
	rights := strings.Fields(reply.NeededACL)[5:]

	args := []any{"ACL", "SETUSER", "drctl", "on", ">dr-secret"}
	for _, r := range rights {
		args = append(args, r)
	}

	must(t, admin.Do(ctx, args...).Err())
	user := in
	user.User, user.Password = "drctl", targets.NewSecret("dr-secret")
	m := newMemory(t)
	follow(t, d, user, m)
	waitFor(t, "start", func() bool { _, ok := m.Tail(); return ok })
	must(t, admin.Set(ctx, "x", 1, 0).Err())
	mark(t, d, user, "cut-1")
	_, err := d.Base(ctx, user, targets.BaseRequest{ID: "b"}, m)
	must(t, err)
	s, err := d.Probe(ctx, user)
	must(t, err)

	if strings.Contains(strings.Join(s.Warnings, " "), "NOPERM") {
		t.Errorf("probe: %v", s.Warnings)
	}
	_, err = d.Verify(ctx, user, targets.Expectation{Quick: true})
	must(t, err)

	for _, lost := range []string{"-eval", "-set"} {
		must(t, admin.Do(ctx, "ACL", "SETUSER", "drctl", lost).Err())
		mem, err := d.Join(ctx, user, targets.JoinRequest{CutID: "c", Group: "shop"})
		must(t, err)

		if _, err := mem.Mark(ctx); !fail.Is(err, fail.Denied) || !strings.Contains(err.Error(), "ACL SETUSER") {
			t.Errorf("%s: %v", lost, err)
		}

		mem.Close()
		must(t, admin.Do(ctx, "ACL", "SETUSER", "drctl", "+"+lost[1:]).Err())
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	d := driver(t)
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	m := newMemory(t)
	stop := follow(t, d, in, m)
	waitFor(t, "start", func() bool { _, ok := m.Tail(); return ok })

	start := time.Now()
	if err := stop(); err != context.Canceled || time.Since(start) > time.Minute {
		t.Fatalf("%v after %s", err, time.Since(start))
	}
}
