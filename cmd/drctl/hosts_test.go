package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/workflows"
)

// onHost makes a command see a disk that every host calls the same and has for itself.
func onHost(t *testing.T, own, disk string) []string {
	t.Helper()

	return append(sandboxtest.Mounts(t), "sh", "-c", `mount --bind "$0" "$1" && shift && exec "$@"`, own, disk)
}

// names are those in a directory.
func names(t *testing.T, dir string) (out []string) {
	t.Helper()

	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}

	for _, e := range es {
		if e.IsDir() && !strings.HasSuffix(e.Name(), ".drctl-restore") {
			out = append(out, e.Name())
		}
	}

	return out
}

// hosted adds to the lab's configuration a destination for each shard, on two hosts in
// turn, and returns its file with the shards and what lies on which host then.
func (w *world) hosted(t *testing.T, disk string) (config string, shards []string, on map[string][]string) {
	t.Helper()

	b, err := os.ReadFile(w.config())
	if err != nil {
		t.Fatal(err)
	}

	text := string(b) + "\nrecovery:\n  shop:\n    destinations:\n"
	on = map[string][]string{}

	for _, target := range []struct {
		name string
		n    int
	}{{"orders", w.shape.shards}, {"carts", w.shape.redis}} {
		text += "      " + target.name + ":\n"

		for n := range target.n {
			port, err := servers.FreePort()
			if err != nil {
				t.Fatal(err)
			}

			host, dir := []string{"a", "b"}[len(shards)%2], fmt.Sprintf("%s%d", target.name, n)
			text += fmt.Sprintf("        %q: {region: west, host: %s, address: \"127.0.0.1:%d\", data_dir: %q}\n", fmt.Sprint(n), host, port, filepath.Join(disk, dir))
			on[host] = append(on[host], dir)
			shards = append(shards, fmt.Sprintf("%s/%d", target.name, n))
		}
	}

	for _, dirs := range on {
		slices.Sort(dirs)
	}

	config = filepath.Join(w.lab, "hosts.yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	return config, shards, on
}

// Eight shards have destinations on two hosts of a region, whose directories are called
// the same. Each is laid down on its own host by the worker there, beside a worker of the
// region that has no such host's name. Cuts are taken meanwhile, although there are more
// archivers than slots for everything else.
func TestWorkGoesToTheRightHost(t *testing.T) {
	w := ownLab(t, labShape{shards: 1, redis: 7, cutEvery: "20s"})
	disk := filepath.Join(w.dir, "disk")
	own := map[string]string{"a": filepath.Join(w.dir, "disk-of-a"), "b": filepath.Join(w.dir, "disk-of-b")}

	for _, dir := range []string{disk, own["a"], own["b"]} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	wraps := map[string][]string{"a": onHost(t, own["a"], disk), "b": onHost(t, own["b"], disk)}

	w.ready(t)

	b, err := os.ReadFile(w.config())
	if err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(w.config(), append(b, "\nworkers: {tasks: 2}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}

	w.running(t) // a backup and a cut

	runs := w.must(t, "runs", "list")
	if n := strings.Count(runs, ":archive/"); n != 8 {
		t.Errorf("%d archivers run:\n%s", n, runs)
	}

	config, shards, on := w.hosted(t, disk)
	o := runOptions{config: config}

	// Nobody is there yet.
	r := w.start(t, o, "status").wait(t)
	for _, host := range []string{"a", "b"} {
		r.expect(t, 4, "no worker serves host "+host, "start on "+host+": drctl worker --region west --host "+host, "the destination of ")
	}

	r = w.start(t, o, "config", "validate", "--connect").wait(t)
	if !strings.Contains(r.out, "no worker serves host a: the destination of ") || !strings.Contains(r.out, "start on b: drctl worker --region west --host b") {
		t.Error(r)
	}

	worker := func(host string) *process {
		return w.start(t, runOptions{config: config, wrap: wraps[host]}, "worker", "--region", "west", "--host", host, "--role", "base")
	}
	wa := worker("a")
	defer wa.stop(t)

	args := []string{"restore", "run", "--into", "instances", "--vault", "west", "--yes", "--json"}
	for _, s := range shards {
		args = append(args, "--shard", s)
	}

	// The steps of host b wait for it, and the command says so.
	p := w.start(t, o, args...)
	p.err.eventuallySays(t, "west@b, which ")
	p.err.eventuallySays(t, "start on b: drctl worker --region west --host b")

	wb := worker("b")
	defer wb.stop(t)

	r = p.wait(t)
	r.expect(t, 0)

	var out workflows.RestoreOut
	if err := json.Unmarshal([]byte(r.out), &out); err != nil || len(out.Failed)+len(out.NotRun) != 0 {
		t.Errorf("%v, %+v", err, out)
	}

	if got := names(t, disk); len(got) != 0 {
		t.Errorf("on no host of the plan: %v", got)
	}

	for host, want := range on {
		if got := names(t, own[host]); !slices.Equal(got, want) {
			t.Errorf("host %s has %v, want %v", host, got, want)
		}
	}

	// Now both are served.
	if r := w.start(t, o, "status").wait(t); strings.Contains(r.out, "no worker serves host") {
		t.Error(r)
	}

	// An engine of the command's own has no worker of another host, and says so before
	// anything is touched.
	r = w.start(t, o, append(args[:len(args)-2*len(shards)], "--shard", shards[0], "--engine", "embedded", "--host", "b")...).wait(t)
	r.expect(t, 1, "its destination is on host a", "--host")
}

// stop ends a process in order.
func (p *process) stop(t *testing.T) {
	t.Helper()

	_ = p.cmd.Process.Signal(os.Interrupt)

	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		t.Errorf("drctl %s does not end", strings.Join(p.args, " "))
	}
}
