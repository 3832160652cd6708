package regional_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/lab"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/restore/choices"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows/recovery"
)

// of is the instance of a shard in a region.
func (p *place) of(region, target, shard string) targets.Instance {
	p.Helper()

	l, err := lab.Open(p.dir, sandboxtest.Tools(p.T))
	if err != nil {
		p.Fatal(err)
	}

	in, err := l.Instance(region, targets.ShardID{Target: target, Shard: shard})
	if err != nil {
		p.Fatal(err)
	}

	return in
}

func (p *place) postgres(region, shard string) *pgx.Conn {
	p.Helper()
	in := p.of(region, "orders", shard)

	c, err := pgx.Connect(p.Context(), "postgres://drctl:"+in.Password.Reveal()+"@"+in.Address+"/shop")
	if err != nil {
		p.Fatal(err)
	}

	p.Cleanup(func() { _ = c.Close(context.Background()) })

	return c
}

func (p *place) redis(region string) *goredis.Client {
	p.Helper()
	in := p.of(region, "carts", "0")
	c := goredis.NewClient(&goredis.Options{Addr: in.Address, Password: in.Password.Reveal(), MaxRetries: -1, DisableIdentity: true})
	p.Cleanup(func() { _ = c.Close() })

	return c
}

// moves are global transactions over two shards, one after the other, each with a note in
// Redis when both of its parts are there.
type moves struct {
	done  chan struct{}
	stop  context.CancelFunc
	acked atomic.Int64
}

func (p *place) moves() *moves {
	p.Helper()
	ctx, stop := context.WithCancel(context.Background())
	m := &moves{done: make(chan struct{}), stop: stop}
	a, b, r := p.postgres("east", "0"), p.postgres("east", "1"), p.redis("east")

	go func() {
		defer close(m.done)

		for n := int64(1); ctx.Err() == nil; n++ {
			part := fmt.Sprintf("BEGIN; SELECT pg_logical_emit_message(true, 'drctl/global', 'move-%d/2'); INSERT INTO moves VALUES (%d, clock_timestamp()); COMMIT", n, n)
			for _, c := range []*pgx.Conn{a, b} {
				if _, err := c.PgConn().Exec(ctx, part).ReadAll(); err != nil {
					return
				}
			}

			if r.Set(ctx, "moved", n, 0).Err() != nil {
				return
			}

			m.acked.Store(n)
		}
	}()

	p.Cleanup(func() { stop(); <-m.done })

	return m
}

// whole holds what is there against what must hold at every moment, and returns how many
// moves there are.
func (p *place) whole(region string) int64 {
	p.Helper()
	var all []string

	for _, shard := range []string{"0", "1"} {
		var n, most int64
		if err := p.postgres(region, shard).QueryRow(p.Context(), "SELECT count(*), coalesce(max(n), 0) FROM moves").Scan(&n, &most); err != nil || n != most {
			p.Fatalf("shard %s has %d moves up to %d: %v", shard, n, most, err)
		}
		all = append(all, strconv.FormatInt(n, 10))
	}

	seen, err := p.redis(region).Get(p.Context(), "moved").Int64()
	if err != nil {
		p.Fatal(err)
	}

	n, _ := strconv.ParseInt(all[0], 10, 64)
	if all[0] != all[1] || seen != n && seen != n-1 {
		p.Errorf("the shards have %v moves, Redis has seen %d", all, seen)
	}

	return n
}

// stopsBy has a server of the west stopped by a program that notes who called it.
func (p *place) stopsBy(in targets.Instance) (mark string) {
	p.Helper()
	mark, script := filepath.Join(p.dir, "called"), filepath.Join(p.dir, "stop-standby.sh")

	as := ""
	if os.Geteuid() == 0 {
		as = "runuser -u postgres -- "
	}

	text := fmt.Sprintf("#!/bin/sh\necho $PPID > %[1]s.new; mv %[1]s.new %[1]s\nexec %[2]s%[3]s/pg_ctl stop -w -m fast -D %[4]s\n", mark, as, sandboxtest.Tools(p.T).PostgresBin, in.DataDir)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		p.Fatal(err)
	}
	config := filepath.Join(p.dir, "drctl.yaml")

	b, err := os.ReadFile(config)
	if err != nil {
		p.Fatal(err)
	}

	with := strings.Replace(string(b), "data_dir: "+in.DataDir, "stop: ["+script+"], data_dir: "+in.DataDir, 1)
	if err := os.WriteFile(config, []byte(with), 0o600); err != nil || with == string(b) {
		p.Fatal("the configuration has no such instance", err)
	}

	return mark
}

// TestTheWholeGroupAtAProvenMoment loses the primaries of the east under traffic over all
// shards and brings the group up in the west at one provable moment. The worker is killed
// while a shard is laid down, and the next goes on.
func TestTheWholeGroupAtAProvenMoment(t *testing.T) {
	p := newPlace(t, "--shards", "2")
	standby := p.of("west", "orders", "0")
	mark := p.stopsBy(standby)

	// The server that the run starts is none that the lab knows.
	laid := p.redis("west")
	p.Cleanup(func() { _ = laid.ShutdownNoSave(context.Background()).Err() })

	p.serve()

	for _, shard := range []string{"0", "1"} {
		if _, err := p.postgres("east", shard).Exec(t.Context(), "CREATE TABLE moves (n bigint PRIMARY KEY, at timestamptz)"); err != nil {
			t.Fatal(err)
		}
	}

	p.must("drctl", "backup", "now")
	m := p.moves()
	p.must("drctl", "cut", "now")
	sealed := time.Now()

	p.until("moves after the cut", func() bool { return m.acked.Load() > 100 && time.Since(sealed) > 10*time.Second })

	for _, s := range []string{"orders/0", "orders/1", "carts/0"} {
		p.must("drlab", "break", "--dir", p.dir, "kill", "east/"+s)
	}

	<-m.done

	p.bothWays()

	// The lab does not know the server that is started in the place of its own.
	carts := p.redis("west")
	t.Cleanup(func() { _ = carts.ShutdownNoSave(context.Background()) })

	o := p.killedWhileLaying(mark, standby)
	p.asForeseen(o, sealed)

	if o.Moment == nil || o.Moment.Grade != targets.Proven || o.Moment.Evidence == "" || !o.Moment.At.After(sealed) || len(o.Laid) != 3 {
		t.Fatalf("%+v, %+v", o.Moment, o.Laid)
	}

	n := p.whole("west")
	if n == 0 || n > m.acked.Load()+1 {
		t.Errorf("%d moves are there, %d were acknowledged", n, m.acked.Load())
	}

	t.Logf("%d of %d moves, the moment is %s; %s", n, m.acked.Load(), o.Moment.Words(), o.Laid[0].Words())
	p.keptAside(o)
	p.nothingLater(o)

	// The archive follows, and the moment can be proven anew.
	p.must("drctl", "cut", "prove", o.Moment.Name, "--vault", "west")

	if _, err := p.postgres("west", "0").Exec(t.Context(), "INSERT INTO moves VALUES (0, clock_timestamp())"); err != nil {
		t.Fatal(err)
	}

	p.until("a cut of the new primaries", func() bool {
		_, _, code := p.run("drctl", "cut", "now")
		return code == 0
	})
}

// killedWhileLaying runs the failover, and kills the worker while the first shard is laid down.
func (p *place) killedWhileLaying(mark string, standby targets.Instance) (o recovery.Out) {
	p.Helper()

	ended := make(chan string, 1)
	go func() {
		out, said, code := p.run("drctl", "failover", "run", "--choice", "proven", "--stay", "media", "--yes", "--json", "--vouch", "killed by this test")
		if err := json.Unmarshal([]byte(out), &o); err != nil || code != 0 || o.Verdict != machine.Reached {
			ended <- fmt.Sprintf("exit %d, %v\n%s\n%s", code, err, out, said)
			return
		}

		ended <- ""
	}()

	var worker int
	p.until("the standby was stopped, and is being laid down anew", func() bool {
		select {
		case s := <-ended:
			p.Fatalf("it has ended: %s", s)
		default:
		}

		b, _ := os.ReadFile(mark)
		_, err := fmt.Sscan(string(b), &worker)
		_, there := os.Stat(standby.DataDir + ".drctl-restore")

		return err == nil && there == nil
	})

	if err := syscall.Kill(worker, syscall.SIGKILL); err != nil {
		p.Error(err)
	}

	for end := time.Now().Add(limit); ; {
		select {
		case s := <-ended:
			if s != "" {
				p.Fatal(s)
			}

			return o
		case <-time.After(time.Second):
		}

		if text, _, _ := p.run("drctl", "recovery", "show"); strings.Contains(text, "asking") && !strings.Contains(text, "fence-") || time.Now().After(end) {
			p.Fatalf("nobody has gone on:\n%s", text)
		}
	}
}

// bothWays wants both ways of the failover told while the region is lost: how much each loses, and that
// nothing is known of how long it takes.
func (p *place) bothWays() {
	p.Helper()

	var x struct {
		Choices *choices.Table `json:"choices"`
	}

	began := time.Now()

	out := p.must("drctl", "plan", "show", "--mode", "failover", "--stay", "media", "--json")
	if err := json.Unmarshal([]byte(out), &x); err != nil || x.Choices == nil {
		p.Fatalf("%v\n%s", err, out)
	}

	p.Logf("foreseen within %s", time.Since(began))

	for _, c := range x.Choices.Choices {
		if c.RPO.Within == nil || c.RPO.Bytes == nil || c.RTO.P50 != nil || c.RTO.Why != "never run" || len(c.Shards) != 3 {
			p.Errorf("%+v", c)
		}
	}

	text := p.must("drctl", "plan", "show", "--mode", "failover", "--stay", "media")
	if !strings.Contains(text, "newest (default, this plan)") || !strings.Contains(text, "never run") {
		p.Error(text)
	}

	p.Log(text)
}

// asForeseen holds a run against what was foreseen when it began: it went to the moment that was foreseen, or a
// later one, and lost no more than that is old.
func (p *place) asForeseen(o recovery.Out, sealed time.Time) {
	p.Helper()

	c := o.Choices.Of(plan.Proven)
	if c == nil || c.Moment == nil || c.RPO.Within == nil || o.Choices.Taken != plan.Proven {
		p.Fatalf("%+v", o.Choices)
	}

	if m := c.Moment; m.Why != "" || m.Grade != targets.Proven || !m.At.After(sealed) || o.Moment == nil || m.At.After(o.Moment.At) {
		p.Errorf("foreseen %+v, reached %+v", m, o.Moment)
	}

	for _, s := range c.Shards {
		for _, l := range o.Laid {
			if l.Shard == s.Shard && (s.Loss.Bytes == nil || l.GivenUp > *s.Loss.Bytes) {
				p.Errorf("%s: given up %d bytes, foreseen %+v", s.Shard, l.GivenUp, s.Loss)
			}
		}
	}

	if n := o.Choices.Of(plan.Newest); n.RPO.Within == nil || *n.RPO.Within > *c.RPO.Within {
		p.Errorf("newest is older than proven: %+v", n.RPO)
	}

	text, said, _ := p.run("drctl", "recovery", "show")
	if !strings.Contains(text, ": proven loses at most") || !strings.Contains(text, "reached: loses") {
		p.Errorf("%s\n%s", text, said)
	}

	p.Log(text)
}

// keptAside wants the directory of every standby where the run says that it is.
func (p *place) keptAside(o recovery.Out) {
	p.Helper()

	for _, l := range o.Laid {
		has := "PG_VERSION"
		if l.Shard.Target == "carts" {
			has = "redis.conf"
		}

		if _, err := os.Stat(filepath.Join(l.Kept, has)); err != nil || !strings.Contains(l.Kept, o.Run) {
			p.Errorf("%s: %v", l.Shard, err)
		}
	}
}

// nothingLater wants nothing in the shards that came after the moment.
func (p *place) nothingLater(o recovery.Out) {
	p.Helper()

	for _, shard := range []string{"0", "1"} {
		var last time.Time
		if err := p.postgres("west", shard).QueryRow(p.Context(), "SELECT max(at) FROM moves").Scan(&last); err != nil || last.After(o.Moment.At.Add(10*time.Millisecond)) {
			p.Errorf("shard %s has a move of %s, the moment is %s: %v", shard, last, o.Moment.At, err)
		}
	}

	if !slices.ContainsFunc(o.Steps, func(s recovery.Step) bool { return s.ID == "bind" && strings.Contains(s.Said, "proven") }) {
		p.Error("nobody says what is known of the moment")
	}
}
