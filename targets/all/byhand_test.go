package all_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"

	"drctl/internal/barrier"
	"drctl/internal/proc"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
	"drctl/targets/all"
)

// quietByHand shows that a subscription is there and nothing works for it, and
// that DDL fires no event trigger.
const quietByHand = `psql -h "$WAL" -d shop -Atc "SELECT (SELECT count(*) FROM pg_subscription WHERE subenabled) || ' ' ||
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%')"
psql -h "$WAL" -d shop -Atc 'CREATE TABLE by_hand ()'
psql -h "$WAL" -d shop -Atc 'SELECT count(*) FROM fired'
`

// page is what a person has on the worst day: docs/vault-format.md, whose sh
// blocks are run here as they stand, by section number.
func page(t *testing.T) map[string]string {
	t.Helper()

	doc, err := os.ReadFile("../../docs/vault-format.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]string{}

	section, inside := "", false
	for line := range strings.Lines(string(doc)) {
		switch {
		case inside && strings.HasPrefix(line, "```"):
			inside = false
		case inside:
			blocks[section] += line
		case strings.HasPrefix(line, "## "):
			section, _, _ = strings.Cut(strings.TrimPrefix(line, "## "), ".")
		case strings.TrimSpace(line) == "```sh":
			inside = true
		}
	}

	return blocks
}

// platform is two PostgreSQL shards, a Redis master and a bucket that are
// archived into one vault.
type platform struct {
	t       *testing.T
	ctx     context.Context
	drivers map[targets.Kind]targets.Driver
	set     vault.Set
	dir     string // of the vault
	key     string // file
}

func newPlatform(t *testing.T, ctx context.Context) *platform {
	t.Helper()
	p := &platform{t: t, ctx: ctx, drivers: map[targets.Kind]targets.Driver{}, dir: filepath.Join(sandboxtest.Dir(t), "vault")}

	log := slog.New(slog.DiscardHandler)
	for _, d := range all.Drivers(all.Options{Tools: sandboxtest.Tools(t), Log: log}) {
		p.drivers[d.Kind()] = d
	}
	key, err := vault.GenerateKey()
	p.must(err)
	v, err := vault.Init(ctx, vault.Options{Region: "east", Location: vault.Location{URL: "file://" + p.dir}, Key: key,
		ResticBin: sandboxtest.Tools(t).ResticBin, TempDir: t.TempDir(), Log: log})
	p.must(err)
	p.set = vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}
	p.key = filepath.Join(filepath.Dir(p.dir), "key")
	p.must(os.WriteFile(p.key, []byte(key.Secret().Reveal()+"\n"), 0o600))

	return p
}

func (p *platform) must(err error) {
	p.t.Helper()

	if err != nil {
		p.t.Fatal(err)
	}
}

// archive follows an instance's log into the vault until stop.
func (p *platform) archive(in targets.Instance) (stop func()) {
	p.t.Helper()
	a, err := stream.NewArchiver(p.ctx, stream.Options{Set: p.set, Shard: in.Shard, Kind: in.Kind, Region: in.Region, ChunkAge: 100 * time.Millisecond})
	p.must(err)
	ctx, cancel := context.WithCancel(p.ctx)

	done := make(chan error, 1)
	go func() { done <- p.drivers[in.Kind].(targets.Follower).Follow(ctx, in, a) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true

		cancel()
		<-done
		a.Abort()
	}
	p.t.Cleanup(stop)

	for range 2400 {
		if _, ok := a.Tail(); ok {
			return stop
		}

		select {
		case err := <-done:
			p.t.Fatalf("the archiver of %s ended: %v", in, err)
		case <-time.After(50 * time.Millisecond):
		}
	}

	p.t.Fatalf("nothing of %s is archived", in)

	return stop
}

func (p *platform) base(in targets.Instance, id string) targets.Artifact {
	p.t.Helper()
	b, err := p.drivers[in.Kind].Base(p.ctx, in, targets.BaseRequest{ID: id}, p.set.Shard(in.Shard).ForBase(id))
	p.must(err)
	_, err = p.set.SaveBase(p.ctx, b)
	p.must(err)

	return b
}

// cut takes and seals a cut, as the workflow does.
func (p *platform) cut(ins ...targets.Instance) targets.Cut {
	p.t.Helper()

	var parties []barrier.Party
	for _, in := range ins {
		parties = append(parties, barrier.Party{Quiescer: p.drivers[in.Kind].(targets.Quiescer), Instance: in})
	}
	cut, err := barrier.Take(p.ctx, parties, barrier.Options{Group: "shop", Mode: targets.Gate, Gate: ins[0].Shard,
		Lease: time.Minute, Budget: 20 * time.Second, LockTimeout: time.Second, Patience: 2 * time.Minute})
	p.must(err)

	for i, s := range cut.Shards {
		if s.Kind == targets.S3 {
			in := ins[slices.IndexFunc(ins, func(in targets.Instance) bool { return in.Shard == s.Shard })]
			cut.Shards[i].Position, _, err = p.drivers[targets.S3].(targets.Snapshotter).Snapshot(p.ctx, in, s.Position.AsOf, p.set.Shard(s.Shard), nil)
			p.must(err)

			continue
		}
		_, err := stream.AwaitRecoverable(p.ctx, p.set, s.Shard, s.Position, nil, 50*time.Millisecond, nil)
		p.must(err)
	}
	cut.SealedAt, cut.SealedIn = time.Now().UTC(), []string{"east"}
	_, err = p.set.SaveCut(p.ctx, cut)
	p.must(err)

	return cut
}

// shell runs a script as a person would, as the user of the servers, with
// nothing but age, zstd, restic, jq, the servers' own programs and coreutils.
func (p *platform) shell(script string) string {
	p.t.Helper()
	tools := sandboxtest.Tools(p.t)
	home := sandboxtest.Dir(p.t)
	// The user of the servers may not enter the checkout, in root's home say.
	restic, err := os.ReadFile(tools.ResticBin)
	p.must(err)
	p.must(os.WriteFile(home+"/restic", restic, 0o755))
	cmd := exec.CommandContext(p.ctx, "sh", "-eu", "-c", script)
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "LC_ALL=C.UTF-8", "V=" + p.dir, "KEY=" + p.key, "PGUSER=drctl",
		"PATH=" + strings.Join([]string{home, tools.PostgresBin, filepath.Dir(tools.RedisServer), "/usr/local/bin", "/usr/bin", "/bin"}, ":")}
	cred, err := tools.RunAs.Credential()
	p.must(err)

	if cred != nil {
		owner := fmt.Sprintf("%d:%d", cred.Uid, cred.Gid)

		out, err := exec.Command("chown", "-R", owner, filepath.Dir(p.dir), home).CombinedOutput()
		if err != nil {
			p.t.Fatalf("%v: %s", err, out)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	}
	var stdout, stderr bytes.Buffer

	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}

	return stdout.String()
}

// ends kills a server by its pid file when the test ends.
func (p *platform) ends(kind targets.Kind, file string) {
	p.t.Cleanup(func() {
		b, err := os.ReadFile(file)
		if err != nil {
			return
		}

		pid, err := strconv.Atoi(strings.Fields(string(b))[0])
		if err != nil {
			return
		}

		if id, err := proc.Of(pid); err == nil {
			_ = id.Kill()
		}
	})
}

func (p *platform) sql(in targets.Instance, query string, args ...any) {
	p.t.Helper()
	c, err := pgx.Connect(p.ctx, sandboxtest.DSN(in, "shop"))

	p.must(err)
	defer c.Close(p.ctx)
	_, err = c.Exec(p.ctx, query, args...)
	p.must(err)
}

func (p *platform) put(in targets.Instance, key, body string) {
	p.t.Helper()
	_, err := sandboxtest.Client(in).PutObject(p.ctx, &awss3.PutObjectInput{Bucket: &in.Database, Key: &key, Body: strings.NewReader(body), ContentType: aws.String("text/plain")})
	p.must(err)
}

// promoted lets a standby take over from its killed primary.
func (p *platform) promoted(standby targets.Instance, kill func() error) {
	p.t.Helper()
	c, err := pgx.Connect(p.ctx, sandboxtest.DSN(standby, "shop"))

	p.must(err)
	defer c.Close(p.ctx)

	for range 2400 {
		var n int
		if c.QueryRow(p.ctx, "SELECT count(*) FROM ledger").Scan(&n) == nil && n == 100 {
			break
		}

		time.Sleep(50 * time.Millisecond)
	}

	p.must(kill())
	_, err = c.Exec(p.ctx, "SELECT pg_promote(true, 120)")
	p.must(err)
}

// TestRecoverByHand follows docs/vault-format.md from an empty machine: from a
// vault that the drivers and archivers wrote, without any code of drctl, a
// shard from a base of files, one from a base over the wire whose primary was
// lost between base and cut, a Redis master and a bucket come back as they
// were at the cut.
func TestRecoverByHand(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	p := newPlatform(t, ctx)
	var lost servers.Server
	one := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/1"})
	two := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/2", Proc: &lost})
	standby := sandboxtest.Standby(t, two, sandboxtest.PostgresOptions{})
	carts := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	media := sandboxtest.S3(t, true)
	two.DataDir, standby.DataDir = "", "" // out of reach: over the wire

	for _, in := range []targets.Instance{one, two} {
		p.sql(in, "CREATE TABLE ledger (n int PRIMARY KEY, note text)")
		// What must not come to life again: a subscription and an event trigger.
		p.sql(in, "CREATE TABLE fired (tag text); CREATE FUNCTION fire() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO fired VALUES (tg_tag); END'; "+
			"CREATE EVENT TRIGGER fires ON ddl_command_end EXECUTE FUNCTION fire()")
		p.sql(in, "CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1 port=1 dbname=none' PUBLICATION p WITH (connect = false, slot_name = feed)")
		p.sql(in, "ALTER SUBSCRIPTION feed ENABLE")
		p.sql(in, "DELETE FROM fired")
		p.archive(in)
		p.base(in, "base-1")
		p.sql(in, "INSERT INTO ledger SELECT g, repeat('x', 1000) FROM generate_series(1, 100) g")
	}

	p.sql(one, "BEGIN; INSERT INTO ledger VALUES (1001, 'in doubt'); PREPARE TRANSACTION 'pending'")
	p.sql(one, "COMMIT PREPARED 'pending'")
	p.archive(carts)
	p.promoted(standby, lost.Kill)
	p.archive(standby)
	p.sql(standby, "INSERT INTO ledger VALUES (2001, 'after the promotion')")
	redis := func(script string) string {
		return p.shell(fmt.Sprintf("export REDISCLI_AUTH=%s; redis-cli -p %s %s", sandboxtest.Password, strings.Split(carts.Address, ":")[1], script))
	}
	redis("SET cart:1 milk")
	redis("RPUSH cart:2 bread butter")

	want := map[string]string{"images/a b.txt": "first", "images/deep/c.txt": strings.Repeat("c", 100_000), "empty": ""}
	for k, body := range want {
		p.put(media, k, body)
	}

	time.Sleep(2500 * time.Millisecond) // past the slack of an as-of instant
	cut := p.cut(one, standby, carts, media)

	// What comes after the cut must not come back.
	time.Sleep(2500 * time.Millisecond)
	p.put(media, "images/a b.txt", "overwritten")
	p.put(media, "later", "later")
	redis("SET cart:1 beer")

	for _, in := range []targets.Instance{one, standby} {
		p.sql(in, "DELETE FROM ledger; SELECT pg_switch_wal()")
	}

	later := p.cut(one, standby, carts, media)
	if later.ID <= cut.ID {
		t.Fatalf("cut %s does not sort after %s", later.ID, cut.ID)
	}

	blocks := page(t)
	for _, n := range []string{"4", "5", "6", "7", "8"} {
		if blocks[n] == "" {
			t.Fatalf("section %s of the page has no sh block", n)
		}
	}

	start := blocks["4"] + blocks["5"] + "CUT=$V/cuts/shop/" + cut.ID + ".json.zst.age\n"
	for _, c := range []struct{ shard, rows, method string }{{"orders/1", "101", "files"}, {"orders/2", "101", "wire"}} {
		t.Run(c.shard, func(t *testing.T) {
			dir := sandboxtest.Dir(t)
			p := &platform{t: t, ctx: ctx, dir: p.dir, key: p.key}
			p.ends(targets.Postgres, dir+"/data/postmaster.pid")
			out := p.shell(start + fmt.Sprintf("S=%s DATA=%[2]s/data WAL=%[2]s/wal\n", c.shard, own(p, dir)) + blocks["6"] +
				quietByHand + "field .method; psql -h \"$WAL\" -d shop -Atc 'SELECT count(*) FROM ledger'; psql -h \"$WAL\" -d shop -Atc \"SELECT note FROM ledger WHERE n > 1000\"")

			note := map[string]string{"orders/1": "in doubt", "orders/2": "after the promotion"}[c.shard]
			if !strings.Contains(out, `recovery stopping at restore point "drctl:`+cut.ID) ||
				!strings.HasSuffix(out, "1 0\nCREATE TABLE\n0\n"+c.method+"\n"+c.rows+"\n"+note+"\n") {
				t.Fatalf("recovered by hand:\n%s", out)
			}
		})
	}

	t.Run("carts/0", func(t *testing.T) {
		dir := sandboxtest.Dir(t)
		p := &platform{t: t, ctx: ctx, dir: p.dir, key: p.key}
		p.ends(targets.Redis, dir+"/redis/redis.pid")
		port, err := servers.FreePort()
		p.must(err)

		out := p.shell(start + fmt.Sprintf("S=carts/0 D=%s/redis PORT=%d\n", own(p, dir), port) + blocks["7"] +
			`redis-cli -p "$PORT" GET cart:1; redis-cli -p "$PORT" LRANGE cart:2 0 -1`)
		if out != "2\nmilk\nbread\nbutter\n" {
			t.Fatalf("recovered by hand: %q", out)
		}
	})
	t.Run("media/0", func(t *testing.T) {
		dir := sandboxtest.Dir(t)
		p := &platform{t: t, ctx: ctx, dir: p.dir, key: p.key}
		p.shell(start + fmt.Sprintf("S=media/0 OUT=%s/media\n", own(p, dir)) + blocks["8"])
		got := map[string]string{}
		root, err := os.OpenRoot(dir + "/media")
		p.must(err)

		defer root.Close()

		for k := range want {
			f, err := root.Open(k)
			p.must(err)
			b, err := io.ReadAll(f)
			p.must(err)
			_ = f.Close()
			got[k] = string(b)
		}

		if _, err := root.Stat("later"); err == nil || !maps.Equal(got, want) {
			t.Fatalf("recovered by hand: %.200v", got)
		}
	})
	t.Run("a missing chunk is named", func(t *testing.T) {
		p := &platform{t: t, ctx: ctx, dir: p.dir, key: p.key}
		base := filepath.Join(p.dir, "streams/carts/0")

		chunks, err := filepath.Glob(base + "/*/*-*-*.zst.age")
		if err != nil || len(chunks) == 0 {
			t.Fatalf("no chunks: %v", err)
		}

		p.must(os.Remove(chunks[0]))

		out := p.shell(start + "S=carts/0\nchoose\n" + `if way "$(position .lineage)" "$(position .offset)" | { read -r l from to; log_bytes "$S" "$l" "$from" "$to"; } 2>&1 >/dev/null; then echo whole; fi`)
		if !strings.Contains(out, "missing: bytes ") || strings.Contains(out, "whole") {
			t.Fatalf("a missing chunk went unseen: %q", out)
		}
	})
}

// own gives a directory to the user of the servers.
func own(p *platform, dir string) string {
	p.t.Helper()
	p.must(sandboxtest.Tools(p.t).RunAs.Own(dir))

	return dir
}
