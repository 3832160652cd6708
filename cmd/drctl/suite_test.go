package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/drills"
	"drctl/internal/sandbox"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows"
)

// running brings everything up that a part needs: the vaults, drctl up, a
// backup and a sealed cut after it.
func (w *world) running(t *testing.T) {
	t.Helper()
	w.ready(t)
	w.must(t, "vault", "init")
	w.startUp(t)

	if bs := decode[[]targets.Artifact](t, w.must(t, "backup", "list", "--json")); len(bs) == 0 {
		w.must(t, "backup", "now")
	}

	if _, err := os.Stat(filepath.Join(w.lab, "journal.jsonl")); err != nil {
		w.inLab(t, "traffic", "--rate", "50", "--quiet", "--duration", "4s")
	}

	w.must(t, "cut", "now")
}

func TestUsage(t *testing.T) {
	w := newWorld(t.TempDir(), labShape{})
	none := func(code int, texts []string, args ...string) {
		t.Helper()
		w.start(t, runOptions{config: "-"}, args...).wait(t).expect(t, code, texts...)
	}
	none(2, []string{"unknown command"}, "nonsense")
	none(2, []string{"unknown flag"}, "cut", "now", "--nonsense")
	none(2, []string{"NAME", "name a drill"}, "drill", "run")
	none(2, []string{`takes no argument, and got "now"`, "drctl status --help"}, "status", "now")
	none(2, []string{`{"error":`, `did you mean \"--json\"?`, `"code":"invalid"`}, "status", "--jsn", "--json")
	none(2, []string{`{"error":`, `did you mean \"status\"?`}, "sttus", "--json")
	none(0, []string{`"json": 1`, `"vault": 1`}, "version", "--json")
	none(2, []string{"unknown command", "drlab"}, "lab", "up", "--shards", "3")
	none(2, []string{"no configuration file", "--config", "drctl config example"}, "status")
	none(2, []string{"missing.yaml"}, "config", "validate", "-c", filepath.Join(w.dir, "missing.yaml"))
	none(0, []string{"Exit status"}, "--help")

	bad := filepath.Join(w.dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("version: 1\nname: x\nregoins: {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	none(2, []string{"regoins", "did you mean", "regions"}, "config", "validate", "-c", bad)

	if _, err := os.Stat(filepath.Join(w.dir, "never")); err == nil {
		t.Error("a command with a bad flag made its directory")
	}
}

// TestHappy walks through every command as the first ten minutes would.
func TestHappy(t *testing.T) {
	w := ownLab(t, labShape{shards: 2, cutEvery: "5s"})
	w.ready(t)
	w.expect(t, 0, []string{"valid"}, "config", "validate")
	w.expect(t, 0, []string{"orders", "secrets/postgres"}, "config", "show")

	if !json.Valid([]byte(w.must(t, "config", "schema"))) {
		t.Error("config schema prints no JSON")
	}
	// Without an engine and vaults, status says so and goes on.
	w.expect(t, 4, []string{"unreachable", "PROBLEM"}, "status")
	w.expect(t, 1, []string{"drctl up"}, "cut", "now")
	testVaultInit(t, w)
	w.startUp(t)
	w.startTraffic(t)
	testApply(t, w)
	cut := testCapture(t, w)
	testPlans(t, w, cut)
	testSandboxes(t, w, cut)
	testDrill(t, w)
	w.stopTraffic(t).expect(t, 0)
	w.searchSecrets(t)
}

func testVaultInit(t *testing.T, w *world) {
	if _, err := os.Stat(filepath.Join(w.lab, "key.txt")); err == nil {
		t.Fatal("lab up made the key")
	}

	w.expect(t, 0, []string{"key: made", "vault: east ready", "vault: west ready"}, "vault", "init")

	before, err := os.ReadFile(filepath.Join(w.lab, "key.txt"))
	if err != nil {
		t.Fatal(err)
	}

	r := w.expect(t, 0, []string{"vault: east ready"}, "vault", "init")
	if strings.Contains(r.out, "key: made") {
		t.Error("the second vault init made a key")
	}

	if after, _ := os.ReadFile(filepath.Join(w.lab, "key.txt")); !bytes.Equal(before, after) {
		t.Error("the second vault init changed the key")
	}
}

// testApply changes the configuration and changes it back.
func testApply(t *testing.T, w *world) {
	b, err := os.ReadFile(w.config())
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(w.lab, "other.yaml")

	changed := bytes.Replace(b, []byte("cut: {every: 5s"), []byte("cut: {every: 6s"), 1)
	if bytes.Equal(b, changed) {
		t.Fatal("the lab's configuration has changed its form")
	}

	if err := os.WriteFile(other, changed, 0o644); err != nil {
		t.Fatal(err)
	}

	actions := func(config string) map[string]int {
		t.Helper()

		n := map[string]int{}
		for _, c := range decode[[]struct{ ID, Action string }](t, w.must(t, "apply", "--json", "-c", config)) {
			n[c.Action]++
			if strings.Contains(c.ID, ":archive/") && c.Action != "kept" {
				t.Errorf("apply %s %s", c.Action, c.ID)
			}
		}

		return n
	}
	for _, config := range []string{other, w.config()} {
		if n := actions(config); n["updated"] == 0 || n["created"]+n["deleted"] > 0 {
			t.Errorf("a changed schedule: apply did %v", n)
		}

		if n := actions(config); len(n) != 1 || n["kept"] < 4 {
			t.Errorf("the second apply did %v", n)
		}
	}

	w.expect(t, 0, []string{"archive/orders/0"}, "apply")
}

// testCapture takes a backup and a cut and reads them back.
func testCapture(t *testing.T, w *world) targets.Cut {
	b := decode[workflows.BackupOut](t, w.must(t, "backup", "now", "--json"))
	if len(b.Bases) != 3 {
		t.Errorf("%d bases, want 3", len(b.Bases))
	}

	for _, x := range b.Bases {
		if x.Error != "" || x.Base.Bytes == 0 || len(x.CopiedTo) != 1 {
			t.Errorf("base %+v", x)
		}
	}

	cut := decode[targets.Cut](t, w.must(t, "cut", "now", "--json"))
	if cut.SealedAt.IsZero() || len(cut.SealedIn) != 2 || len(cut.Shards) != 4 {
		t.Errorf("cut %+v", cut)
	}

	time.Sleep(time.Second) // acknowledged work after the cut, which must not be in it

	for _, region := range []string{"east", "west"} {
		list := decode[struct{ Cuts []targets.Cut }](t, w.must(t, "cut", "list", "--json", "--vault", region, "--all", "--limit", "0"))
		if !slices.ContainsFunc(list.Cuts, func(c targets.Cut) bool { return c.ID == cut.ID }) {
			t.Errorf("the vault of %s does not list the cut", region)
		}

		bs := decode[[]targets.Artifact](t, w.must(t, "backup", "list", "--json", "--vault", region))
		if len(bs) < 3 {
			t.Errorf("the vault of %s lists %d bases", region, len(bs))
		}
	}

	w.expect(t, 0, []string{cut.ID}, "cut", "list", "--stats", "--limit", "0")
	w.expect(t, 0, []string{cut.ID, "orders/0", "carts/0", "media/0"}, "cut", "show", cut.ID)
	w.expect(t, 0, []string{b.Bases[0].Base.ID}, "backup", "show", b.Bases[0].Base.ID)
	w.expect(t, 1, []string{"19700101T000000.000Z-0000"}, "cut", "show", "19700101T000000.000Z-0000")
	w.expect(t, 1, []string{"there is no such base"}, "backup", "show", "nonsense")
	w.expect(t, 0, []string{"vault east", "vault west", "0 failed"}, "backup", "verify")
	w.expect(t, 0, nil, "backup", "prune")
	type status []struct {
		Engine        string
		Instances     []struct{ Error string }
		Shards        []struct{ Archiving bool }
		NewestCut     string   `json:"newest_cut"`
		RecoverableIn []string `json:"recoverable_in"`
		Problems      []string
	}

	// On a slow machine something may be late for a while, which is a problem.
	eventually(t, 3*time.Minute, "all is well", func() error {
		r := w.run(t, "status", "--json")
		if r.code != 0 {
			return errors.New(r.String())
		}

		st := decode[status](t, r.out)[0]
		if st.Engine != "running" || len(st.Instances) != 7 || len(st.Shards) != 3 || st.NewestCut < cut.ID || len(st.RecoverableIn) != 2 || len(st.Problems) != 0 {
			return fmt.Errorf("status %+v", st)
		}

		return nil
	})

	w.expect(t, 0, []string{"orders/1", "primary", "standby"}, "status")

	return cut
}

func testPlans(t *testing.T, w *world, cut targets.Cut) {
	planned := func(args ...string) plan.Run {
		t.Helper()
		return decode[plan.Run](t, w.must(t, append([]string{"restore", "plan", "--json"}, args...)...))
	}
	shards := func(p plan.Run) (out []string) {
		for _, s := range p.Steps {
			if s.Op == plan.OpRestore {
				out = append(out, s.Shard.String())
			}
		}

		slices.Sort(out)

		return out
	}

	all := []string{"carts/0", "media/0", "orders/0", "orders/1"}
	if p := planned(); p.Cut.ID < cut.ID || !slices.Equal(shards(p), all) || p.Bytes() == 0 || p.Hash != p.Sum() {
		t.Errorf("plan of the latest cut: %v of %s", shards(p), p.Cut.ID)
	}

	if p := planned("--cut", cut.ID, "--vault", "west"); p.Cut.ID != cut.ID || p.Goal.Vault != "west" {
		t.Errorf("plan of a named cut: %s from %s", p.Cut.ID, p.Goal.Vault)
	}

	if p := planned("--shard", "orders/1"); !slices.Equal(shards(p), []string{"orders/1"}) {
		t.Errorf("plan of one shard: %v", shards(p))
	}

	if p := planned("--target", "carts"); !slices.Equal(shards(p), []string{"carts/0"}) {
		t.Errorf("plan of one target: %v", shards(p))
	}

	if p := planned("--at", cut.QuiescedAt.Format(time.RFC3339Nano), "--unproven"); p.Cut.ID != "" || len(p.Warnings) == 0 || !slices.Equal(shards(p), all) {
		t.Errorf("plan of an instant: %v, warnings %v", shards(p), p.Warnings)
	}

	at := cut.QuiescedAt.Add(time.Second).Format(time.RFC3339Nano)
	if p := planned("--at", at); p.Cut.Proof == nil || p.Goal.Moment.IsZero() || p.Cut.QuiescedAt.After(p.Goal.Moment) || !slices.Equal(shards(p), all) {
		t.Errorf("plan of a moment: %v of %+v", shards(p), p.Cut)
	}

	w.expect(t, 0, []string{"proven anew"}, "cut", "prove", cut.ID)
	w.expect(t, 0, []string{"any moment"}, "cut", "list", "--window", "--since", "1h")
	w.expect(t, 0, []string{"called before-deploy", "sealed"}, "cut", "at", at, "--name", "before-deploy")
	w.expect(t, 0, []string{"called before-deploy"}, "cut", "show", "before-deploy")

	if p := planned("--cut", "before-deploy"); p.Cut.Name != "before-deploy" || p.Cut.ID == cut.ID {
		t.Errorf("plan of a named moment: %+v", p.Cut)
	}

	w.expect(t, 0, []string{cut.ID, "orders/0", "SHA-256"}, "restore", "plan", "--cut", cut.ID)
	w.expect(t, 1, []string{"20010101T000000.000Z-0000"}, "restore", "plan", "--cut", "20010101T000000.000Z-0000")
	w.expect(t, 2, []string{"nowhere"}, "restore", "plan", "--target", "nowhere")
	w.expect(t, 1, nil, "restore", "plan", "--at", "2001-01-01T00:00:00Z")
	w.expect(t, 2, []string{"--at"}, "restore", "plan", "--at", "yesterday")
	w.expect(t, 2, []string{"--at"}, "restore", "plan", "--at", "2001-01-01T00:00:00Z", "--cut", cut.ID)
	w.expect(t, 2, []string{"--shard"}, "restore", "plan", "--shard", "orders")
	w.expect(t, 2, []string{"--engine"}, "restore", "run", "--engine", "imaginary")
}

// testSandboxes restores, checks from outside, and removes.
func testSandboxes(t *testing.T, w *world, cut targets.Cut) {
	r := w.run(t, "restore", "run", "--json", "--cut", cut.ID, "--vault", "west")
	r.expect(t, 0)

	out := decode[workflows.RestoreOut](t, r.out)
	if len(out.Steps) != 8 || len(out.Failed)+len(out.NotRun)+len(out.Unverified) != 0 {
		t.Errorf("restore: %+v", out)
	}
	box := out.Sandbox.Dir
	w.expect(t, 0, []string{out.Sandbox.ID}, "sandbox", "list")
	show := w.start(t, runOptions{hide: true}, "sandbox", "show", "--json", out.Sandbox.ID).wait(t)
	show.expect(t, 0)

	if acc := decode[[]sandbox.Access](t, show.out); len(acc) != 4 {
		t.Errorf("sandbox show: %d servers", len(acc))
	}

	w.inLab(t, "check", "--sandbox", box, "--cut", cut.ID).expect(t, 0, "holds")
	w.expect(t, 0, []string{"removed"}, "sandbox", "rm", out.Sandbox.ID)
	w.nothingLeft(t)
	w.expect(t, 1, []string{"drctl sandbox list"}, "sandbox", "rm", out.Sandbox.ID)
	// One shard to an instant.
	r = w.run(t, "restore", "run", "--json", "--at", cut.QuiescedAt.Format(time.RFC3339Nano), "--shard", "orders/0", "--shard", "carts/0", "--quick")
	r.expect(t, 0)

	box = decode[workflows.RestoreOut](t, r.out).Sandbox.Dir
	if got := decode[map[string][]string](t, w.must(t, "sandbox", "rm", "--json", box)); !slices.Equal(got["removed"], []string{box}) {
		t.Errorf("sandbox rm --json: %v", got)
	}

	w.nothingLeft(t)
}

func testDrill(t *testing.T, w *world) {
	r := w.run(t, "drill", "run", "region-loss", "--json")
	r.expect(t, 0)

	d := decode[drills.Outcome](t, r.out)
	if !d.Passed || d.Sandbox != "" || len(d.Vaults) != 2 {
		t.Errorf("drill: %+v", d)
	}

	for _, f := range []string{d.HTML, d.JSON} {
		if b, err := os.ReadFile(f); err != nil || len(b) < 1000 {
			t.Errorf("report %s: %d bytes, %v", f, len(b), err)
		}
	}
	page := filepath.Join(w.dir, "page.html")
	w.expect(t, 0, []string{"region-loss"}, "drill", "show", d.ID, "--vault", "east", "--html", page)

	if b, err := os.ReadFile(page); err != nil || !bytes.Contains(b, []byte("</html>")) {
		t.Errorf("drill show --html: %v", err)
	}

	w.expect(t, 0, []string{"passed", d.ID}, "drill", "list")
	w.expect(t, 2, []string{"region-loss"}, "drill", "run", "imaginary")
	w.expect(t, 1, []string{"imaginary"}, "drill", "show", "imaginary")
	w.nothingLeft(t)
}

// nothingLeft checks that no sandbox and none of its servers is left.
func (w *world) nothingLeft(t *testing.T) {
	t.Helper()

	root := filepath.Join(w.lab, "sandbox")
	if es, err := os.ReadDir(root); err == nil && len(es) != 0 {
		t.Errorf("%d sandboxes are left: %v", len(es), es)
	}

	for _, p := range processes() {
		if strings.HasPrefix(p.cwd, root+"/") {
			t.Errorf("process %d (%s) is left in %s", p.pid, p.args, p.cwd)
		}
	}
}

type procInfo struct {
	pid       int
	cwd, args string
}

// processes lists all processes that this user may see.
func processes() (out []procInfo) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		args, err := os.ReadFile(d + "/cmdline")
		if err != nil {
			continue
		}
		var p procInfo
		_, _ = fmt.Sscan(filepath.Base(d), &p.pid)
		p.cwd, _ = os.Readlink(d + "/cwd")
		p.args = strings.TrimSpace(strings.ReplaceAll(string(args), "\x00", " "))
		out = append(out, p)
	}

	return out
}

// searchSecrets looks for the lab's secrets wherever they must not be.
func (w *world) searchSecrets(t *testing.T) {
	t.Helper()
	secrets := map[string]string{}

	files, _ := filepath.Glob(filepath.Join(w.lab, "secrets", "*"))
	for _, f := range append(files, filepath.Join(w.lab, "key.txt")) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}

		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				secrets[filepath.Base(f)] = line
			}
		}
	}

	if len(secrets) < 4 {
		t.Fatalf("the lab has only %d secrets", len(secrets))
	}
	look := func(where string, text []byte) {
		for name, s := range secrets {
			for _, form := range encodings(s) {
				if bytes.Contains(text, []byte(form)) {
					t.Errorf("the secret %q is in %s", name, where)
				}
			}
		}
	}

	w.mu.Lock()
	look("the output of a command", w.printed.Bytes())
	w.mu.Unlock()

	if w.up != nil {
		look("the log of drctl up", []byte(w.up.out.String()+w.up.err.String()))
	}

	for _, p := range processes() {
		look(fmt.Sprintf("the arguments of process %d", p.pid), []byte(p.args))
	}
	// The engine's database, its journal, the state and the reports.
	seen := 0
	_ = filepath.WalkDir(filepath.Join(w.lab, "state"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}

		if b, err := os.ReadFile(p); err == nil {
			seen += bytes.Count(b, []byte("FenceCut"))
			look(p, b)
		}

		return nil
	})

	if seen == 0 {
		t.Error("the engine's files hold no payload that can be read: the search for secrets in them proves nothing")
	}
	// The sealed vaults and the journal of the servers are others' doing, the
	// lab's own record and its configuration are not.
	for _, name := range []string{"lab.json", "drctl.yaml", "journal.jsonl"} {
		if b, err := os.ReadFile(filepath.Join(w.lab, name)); err == nil {
			look(name, b)
		}
	}
}

// encodings are a secret as it is and in base64 at each of the three places
// where a longer text can hold it.
func encodings(s string) []string {
	out := []string{s}
	for pad := range 3 {
		e := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", pad) + s))
		out = append(out, e[4:len(e)-4])
	}

	return out
}
