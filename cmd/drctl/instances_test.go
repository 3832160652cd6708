package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/redis/go-redis/v9"

	"drctl/internal/sandbox"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/restore/plan"
	"drctl/workflows"
)

// destinations writes a configuration with the lab's platform and a place for
// each shard below dir, and returns it with the addresses.
func (w *world) destinations(t *testing.T, dir, bucket string, change func(string) string) (config string, at map[string]string) {
	t.Helper()

	b, err := os.ReadFile(w.config())
	if err != nil {
		t.Fatal(err)
	}

	at = map[string]string{}
	for _, s := range []string{"orders/0", "orders/1", "carts/0"} {
		port, err := servers.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		at[s] = fmt.Sprintf("127.0.0.1:%d", port)
	}

	text := string(b) + fmt.Sprintf(`
recovery:
  shop:
    parallel: 2
    destinations:
      orders:
        "0": {region: west, address: %q, data_dir: %q}
        "1": {region: west, address: %q, data_dir: %q}
      carts:
        "0": {region: west, address: %q, data_dir: %q}
      media:
        "0": {region: west, address: %q, bucket: %q}
`, at["orders/0"], dir+"/orders0", at["orders/1"], dir+"/orders1", at["carts/0"], dir+"/carts0",
		w.instance(t, "west", "media/0").Address, bucket)
	if change != nil {
		text = change(text)
	}

	config = filepath.Join(w.lab, "recovery.yaml")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}

	return config, at
}

func TestRestoreIntoInstances(t *testing.T) {
	w := sharedLab(t)
	w.running(t)

	dir := filepath.Join(w.dir, "recovered")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}

	w.expect(t, 2, []string{"no destinations", "recovery.shop.destinations"}, "restore", "run", "--into", "instances", "--yes")
	config, at := w.destinations(t, dir, "recovered", nil)
	run := func(args ...string) result {
		t.Helper()
		return w.start(t, runOptions{config: config}, append([]string{"restore", "run", "--into", "instances", "--vault", "west"}, args...)...).wait(t)
	}
	// Nobody is there to confirm.
	run().expect(t, 2, "--yes")

	if es, _ := os.ReadDir(dir); len(es) != 0 {
		t.Errorf("an unconfirmed restore made %v", es)
	}
	// Into an empty place, by the workers of drctl up, which know nothing of it.
	cut := decode[plan.Run](t, w.must(t, "restore", "plan", "--json")).Cut.ID
	r := run("--yes", "--json", "--cut", cut)
	r.expect(t, 0)

	out := decode[workflows.RestoreOut](t, r.out)
	if out.Sandbox.Dir != "" || len(out.Failed)+len(out.NotRun)+len(out.Unverified) != 0 {
		t.Fatalf("restore into instances: %s", r)
	}
	// One shard is lost again: a repeat finds the others done.
	if err := os.RemoveAll(dir + "/orders1"); err != nil {
		t.Fatal(err)
	}
	r = run("--yes", "--json", "--cut", cut)
	r.expect(t, 0)

	for _, s := range decode[workflows.RestoreOut](t, r.out).Steps {
		before := s.Op == plan.OpRestore && s.Shard.String() != "orders/1" && s.Shard.String() != "media/0"
		if s.Before.IsZero() == before {
			t.Errorf("%s: done before at %v", s.StepID, s.Before)
		}
	}

	w.startRecovered(t, dir, at)
	// Once somebody has used it, what is there is not touched.
	if _, err := sandboxtest.Client(w.instance(t, "east", "media/0")).PutObject(t.Context(), &awss3.PutObjectInput{
		Bucket: aws.String("media"), Key: aws.String("one-more"), Body: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}

	// Where nothing was written since, the other cut is the same there, and done before.
	carts := w.instance(t, "east", "carts/0")
	rc := redis.NewClient(&redis.Options{Addr: carts.Address, Username: carts.User, Password: carts.Password.Reveal()})

	defer func() { _ = rc.Close() }()

	if err := rc.Set(t.Context(), "drctl:cut:one-more", "x", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}

	w.must(t, "cut", "now")
	r = run("--yes")
	r.expect(t, 1, "nothing was restored", "orders/0", "not empty", "carts/0", "media/0", "the bucket is not empty")
	plain(t, r)
	// A running server is no destination, whatever the directory.
	east := w.instance(t, "east", "orders/0")
	config, _ = w.destinations(t, filepath.Join(w.dir, "elsewhere"), "elsewhere", func(s string) string {
		return strings.Replace(s, at["orders/0"], east.Address, 1)
	})
	config = replaceIn(t, config, `"0": {region: west, address: "127.0.0.1:`, `"0": {region: west, address: "`+east.Address+`", data_dir: "`+w.dir+`/elsewhere/orders0"} #`)
	r = run("--yes", "--shard", "orders/0")
	r.expect(t, 1, "orders/0", east.Address, "stop it first")
	plain(t, r)
	// Nor is the data directory of a running server, even when a delta was asked for.
	config = replaceIn(t, config, w.dir+"/elsewhere/orders0", east.DataDir)
	for _, extra := range [][]string{nil, {"--delta"}} {
		r = run(append([]string{"--yes", "--shard", "orders/0"}, extra...)...)
		r.expect(t, 1, "orders/0")
		plain(t, r)
	}

	w.expect(t, 0, nil, "cut", "now")
	_ = os.RemoveAll(filepath.Join(w.dir, "elsewhere"))
}

// replaceIn replaces the first occurrence of old below "recovery:" in a file.
func replaceIn(t *testing.T, file, old, with string) string {
	t.Helper()

	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	head, rest, ok := strings.Cut(string(b), "\nrecovery:")
	if !ok || !strings.Contains(rest, old) {
		t.Fatalf("%s: no %q", file, old)
	}

	if err := os.WriteFile(file, []byte(head+"\nrecovery:"+strings.Replace(rest, old, with, 1)), 0o644); err != nil {
		t.Fatal(err)
	}

	return file
}

// startRecovered starts the servers that a restore into instances left stopped
// as an operator would, and counts what is in them.
func (w *world) startRecovered(t *testing.T, dir string, at map[string]string) {
	t.Helper()

	tools, err := servers.Find(servers.Binaries{})
	if err != nil {
		t.Fatal(err)
	}

	for _, n := range []string{"0", "1"} {
		in := w.instance(t, "east", "orders/"+n)

		p, err := tools.StartPostgres(t.Context(), servers.PostgresSpec{Name: "recovered" + n, Dir: filepath.Join(dir, "orders"+n), Port: portOf(t, at["orders/"+n]), Wait: time.Minute,
			LogFile: filepath.Join(dir, "orders"+n+".log"), Settings: map[string]string{"max_prepared_transactions": "200", "max_connections": "120", "max_wal_senders": "10"}})
		if err != nil {
			t.Fatal(err)
		}

		t.Cleanup(func() { _ = p.Kill() })
		in.Address = at["orders/"+n]
		var accounts int

		var recovery bool
		if err := w.connect(t, in).QueryRow(t.Context(), "select count(*), pg_is_in_recovery() from accounts").Scan(&accounts, &recovery); err != nil || accounts == 0 || recovery {
			t.Errorf("recovered orders/%s: %d accounts, in recovery %v: %v", n, accounts, recovery, err)
		}
	}

	for _, name := range []string{"orders0", "orders1", "carts0"} {
		if es, _ := os.ReadDir(filepath.Join(dir, name+".drctl-restore")); len(es) != 1 || es[0].Name() != "restored.json" {
			t.Errorf("the restore left %v beside %s", es, name)
		}
	}

	if _, err := os.Stat(filepath.Join(dir, "carts0", "appendonlydir")); err != nil {
		t.Error(err)
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()

	var n int
	if _, err := fmt.Sscanf(address[strings.LastIndexByte(address, ':')+1:], "%d", &n); err != nil {
		t.Fatal(err)
	}

	return n
}

// TestInterrupted interrupts restores at two moments, with both engines.
func TestInterrupted(t *testing.T) {
	w := sharedLab(t)
	w.running(t)

	for _, args := range [][]string{{}, {"--engine", "embedded"}} {
		w.interruptRestore(t, args)
	}
	// A drill leaves a report when it is interrupted, and no sandbox.
	r := w.interruptInSandbox(t, "drill-*", "drill", "run", "region-loss")
	for try := 0; r.code == 0 && try < 3; try++ { // it was faster
		r = w.interruptInSandbox(t, "drill-*", "drill", "run", "region-loss")
	}

	r.expect(t, 130, "interrupted")
	w.nothingLeft(t)
	// A cut goes on in the engine.
	r = result{code: -1}
	for after := 500 * time.Millisecond; r.code == -1 && after < time.Minute; after *= 2 {
		p := w.start(t, runOptions{}, "cut", "now")

		time.Sleep(after) // on a busy machine the signal may come before it listens
		p.signal(syscall.SIGTERM)
		r = p.wait(t)
	}

	if r.code != 130 && r.code != 0 {
		t.Error(r)
	}

	w.must(t, "cut", "now")
}

// interruptInSandbox interrupts a command as soon as there is a new sandbox of a name.
func (w *world) interruptInSandbox(t *testing.T, name string, args ...string) result {
	t.Helper()

	boxes := func() int {
		es, _ := filepath.Glob(filepath.Join(w.lab, "sandbox", name))
		return len(es)
	}
	before := boxes()

	p := w.start(t, runOptions{}, args...)
	for p.running() && boxes() <= before {
		time.Sleep(10 * time.Millisecond)
	}

	p.signal(syscall.SIGINT)

	return p.wait(t)
}

// interruptRestore interrupts a restore as soon as it has a sandbox.
func (w *world) interruptRestore(t *testing.T, args []string) {
	t.Helper()

	for range 3 {
		r := w.interruptInSandbox(t, "restore-*", append([]string{"restore", "run", "--vault", "west"}, args...)...)
		if r.code == 0 { // it was faster
			w.must(t, "sandbox", "rm", filepath.Join(w.lab, "sandbox", sandboxOf(t, r)))
			continue
		}

		r.expect(t, 130, "cleaning up", "interrupted")
		plain(t, r)
		w.nothingLeft(t)

		return
	}

	t.Error("no restore could be interrupted before its end")
}

// sandboxOf finds the sandbox that a restore names.
func sandboxOf(t *testing.T, r result) string {
	t.Helper()

	_, rest, ok := strings.Cut(r.out, "drctl sandbox rm ")
	if !ok {
		t.Fatal(r)
	}

	return filepath.Base(strings.Fields(rest)[0])
}

// TestDiskFull restores into a volume that is too small in two ways: known
// before the start, and found out half way.
func TestDiskFull(t *testing.T) {
	w := sharedLab(t)
	w.running(t)
	plan := decode[plan.Run](t, w.must(t, "restore", "plan", "--json", "--target", "orders"))

	mnt := filepath.Join(w.dir, "small")
	if err := os.MkdirAll(mnt, 0o755); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		size  int64
		texts []string
		what  string
	}{
		{plan.Bytes() / 2, []string{"free space", "make room"}, "too small for the plan"},
		{plan.Bytes() + 4<<20, []string{"o space left on device"}, "too small for what recovery writes besides"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if err := syscall.Mount("tmpfs", mnt, "tmpfs", 0, fmt.Sprintf("size=%d,mode=755", c.size)); err != nil {
				if errors.Is(err, syscall.EPERM) {
					// The check of the free space has its own test in activities; a
					// full disk cannot be made without this right.
					t.Skip("mounting a small volume needs root: ", err)
				}

				t.Fatal(err)
			}
			defer func() {
				if err := syscall.Unmount(mnt, 0); err != nil {
					t.Error(err)
				}
			}()
			r := w.run(t, "restore", "run", "--engine", "embedded", "--target", "orders", "--cut", plan.Cut.ID, "--sandbox-dir", filepath.Join(mnt, "sandbox"))
			r.expect(t, 1, c.texts...)
			plain(t, r)

			boxes, _ := sandbox.List(filepath.Join(mnt, "sandbox"))
			for _, b := range boxes { // what failed half way is left to be looked at
				w.must(t, "sandbox", "rm", b.Dir())
			}

			if es, _ := os.ReadDir(filepath.Join(mnt, "sandbox")); len(es) != 0 {
				t.Errorf("left: %v", es)
			}
		})
	}

	w.nothingLeft(t)
}
