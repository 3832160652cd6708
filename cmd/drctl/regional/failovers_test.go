package regional_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"drctl/internal/lab"
	"drctl/internal/lab/rounds"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/restore/losses"
	"drctl/restore/machine"
	"drctl/targets"
)

// guarded are the guards of an arena.
type guarded struct {
	*arena
	guards map[string]*os.Process
	again  func(region string) // starts the guard of a region again
}

// disaster is how a region is lost. Its guard is killed with it, or has to act.
type disaster struct {
	name string
	do   func(g *guarded, region string)
}

// ends kills the servers of a region.
func (g *guarded) ends(region string) {
	g.Helper()

	for _, kind := range []string{"orders", "carts"} {
		if err := g.open().Break(g.Context(), "kill", of(region, kind)); err != nil {
			g.Fatal(err)
		}
	}
}

var disasters = []disaster{
	{"servers killed", func(g *guarded, region string) { g.ends(region) }},
	{"guard killed, the servers by its watchman", func(g *guarded, region string) { _ = g.guards[region].Kill() }},
	{"guard and servers killed", func(g *guarded, region string) {
		_ = g.guards[region].Kill()
		g.ends(region)
	}},
	{"servers frozen", func(g *guarded, region string) {
		each(syscall.SIGSTOP, append(g.process(of(region, "orders")), g.process(of(region, "carts"))...)...)
	}},
	{"servers cut off, customers go on", func(g *guarded, region string) {
		g.lines[of(region, "orders")].Cut()
		g.lines[of(region, "carts")].Cut()
	}},
}

// TestFailoverRounds loses the region that leads, under customers, and fails over to the other one with a fault in the
// middle; then everything goes home, which undoes what was lost there.
func TestFailoverRounds(t *testing.T) {
	g := &guarded{arena: newArena(t), guards: map[string]*os.Process{}}
	g.serve()
	g.must("drctl", "backup", "now")

	g.again = func(region string) { g.guards[region], _ = g.guard(region) }

	for _, region := range []string{lab.East, lab.West} {
		g.again(region)
	}

	seed := uint64(9001)
	if s := os.Getenv("DRCTL_ROUNDS_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}

	total, home := newTally(t), newTally(t)

	for n := range sandboxtest.Size(2, 55) {
		g.failover(seed+uint64(n), total, home)

		if t.Failed() {
			t.Fatalf("seed %d", seed+uint64(n))
		}
	}

	total.say()
	t.Log("and on the way home:")
	home.say()

	if sandboxtest.Size(0, 1) > 0 {
		t.Run("what is planted is found", g.twoAreFound)
	}
}

// twoAreFound freezes the guard of the region that leads, with its watchman: the servers go on, nobody stops them, and drctl cannot
// reach them. The end of the lease is taken for a proof that it is not, and the watch sees two writers.
func (g *guarded) twoAreFound(t *testing.T) {
	t.Helper()
	g.covered(lab.East)
	g.watch.Mark()
	each(syscall.SIGSTOP, append(below(g.guards[lab.East].Pid), g.guards[lab.East].Pid)...)
	g.lines[of(lab.East, "orders")].Cut()
	g.lines[of(lab.East, "carts")].Cut()

	x := &round{from: lab.East, to: lab.West}
	g.goes(x, "failover", "run", "--from", lab.East, "--to", lab.West)

	if x.out.Verdict != machine.Reached {
		t.Fatalf("%s: %s", x.out.Verdict, whyNot(x))
	}

	g.until("two writers are found", func() bool { return len(watched(x, lab.West, g.watch.Since(lab.East), newTally(t))) == 2 })
}

// failover is one round, from the east and home again.
func (g *guarded) failover(seed uint64, total, home *tally) {
	g.Helper()
	g.covered(lab.East)

	rnd := rand.New(rand.NewPCG(seed, 2))
	x := &round{from: lab.East, to: lab.West, rnd: rnd}
	d, f, at := disasters[rnd.IntN(len(disasters))], everywhere[rnd.IntN(len(everywhere))], choose(rnd, 3)
	at = at.of(f)
	leave := g.customers(int64(seed))

	g.watch.Mark()
	time.Sleep(time.Second + some(rnd))

	began := time.Now()

	d.do(g, x.from)

	alone := rnd.IntN(3) == 0 // its vault is lost too
	g.fronts[x.from].set(alone)

	disarm := g.arm(x, at, func() { f.do(g.arena, x) })

	for tries := 1; ; tries++ {
		g.goes(x, "failover", "run", "--from", x.from, "--to", x.to)

		if x.out.Verdict == machine.Reached || tries == 3 {
			break
		}

		// Nobody takes writes now: a person begins it once more, when the fault is over.
		disarm()
		g.Logf("seed %d: %s (%s %s): %s, once more: %s", seed, d.name, f.name, x.at, x.out.Verdict, whyNot(x))
		x.dead.Store(false)
	}

	disarm()
	g.serves(x.to)

	end := time.Now()
	sum := leave()

	// What was frozen or cut off comes back; nothing of it may take a write.
	g.mend()
	time.Sleep(500 * time.Millisecond)

	seen := g.watch.Since(x.from)
	total.add(f.name, x, end.Sub(began))
	total.faults[d.name]++

	forks := map[targets.ShardID]*rounds.Fork{}
	words := ""

	if x.out.Loss != nil {
		for _, s := range x.out.Loss.Shards {
			if s.Verdict != losses.Nothing {
				forks[s.Shard] = forkOf(seen, s, began, end)
			}
			words += fmt.Sprintf(" %s: %s, %d bytes, since %s before;", s.Shard, s.Verdict, s.Bytes, began.Sub(s.Since).Round(time.Millisecond))
		}
	}

	g.Logf("seed %d: %s, vault lost %t, %s %s (%s): %s, %d questions, written again after %s;%s %d bought, %d failed, %d unknown", seed, d.name, alone, f.name, at, x.at,
		x.out.Verdict, x.asks, end.Sub(began).Round(100*time.Millisecond), words, sum.Acked, sum.Failed, sum.Unknown)

	if x.out.Verdict != machine.Reached {
		g.Fatalf("it ends %s: %+v", x.out.Verdict, x.out)
	}

	g.judgedAlone(x, x.to, seen, forks, total)
	g.goHome(seed, x, home)
}

// forkOf is when a failover may have undone what. The promotion lies between the last write that the old side was seen to take and the first
// one of the new side, and all that clients did on either side lies on its side of that.
func forkOf(seen []rounds.Seen, lost losses.Shard, began, end time.Time) *rounds.Fork {
	f := &rounds.Fork{Since: lost.Since, From: began, To: end}

	for _, s := range seen {
		if s.Shard == lost.Shard && s.Last.Asked.After(f.From) {
			f.From = s.Last.Asked
		}

		if s.Shard == lost.Shard && !s.First.Answered.IsZero() && s.First.Answered.Before(f.To) {
			f.To = s.First.Answered
		}
	}

	return f
}

// whyNot are the errors of a run.
func whyNot(x *round) (text string) {
	for _, s := range x.out.Steps {
		if s.Error != "" {
			text += s.ID + ": " + s.Error + "; "
		}
	}

	return text
}

// goHome brings the lost region back, and the primaries home, under customers.
func (g *guarded) goHome(seed uint64, was *round, home *tally) {
	g.Helper()

	if g.guards[was.from].Signal(syscall.Signal(0)) != nil || stateOf(g.guards[was.from].Pid) == "Z" {
		g.again(was.from)
	}

	g.until("the old PostgreSQL is down", func() bool { return len(g.process(of(was.from, "orders"))) == 0 })
	g.comesAsReplica(was.from)

	x := &round{from: was.to, to: was.from, rnd: was.rnd}
	began := time.Now()
	leave := g.customers(int64(seed) + 1<<32) // what customers choose is nobody else's

	g.watch.Mark()

	for tries := 1; ; tries++ {
		g.goes(x, "failback", "run", "--from", was.to, "--to", was.from)
		g.Logf("seed %d: home again: %s, %d questions, %s; %s", seed, x.out.Verdict, x.asks, time.Since(began).Round(100*time.Millisecond), whyNot(x))

		if x.out.Verdict == machine.Reached || tries == 5 {
			break
		}

		time.Sleep(2 * time.Second)
	}

	if x.out.Verdict != machine.Reached {
		g.Fatalf("it ends %s: %s", x.out.Verdict, whyNot(x))
	}

	leads := g.settled(x)
	seen := g.watch.Since(x.from)
	g.serves(leads)
	leave()

	home.add("none", x, time.Since(began))

	g.judged(x, leads, seen, nil, home)
}

// comesAsReplica starts the Redis server of a region that was lost, as who knows what happened does: it follows the
// other one.
func (g *guarded) comesAsReplica(region string) {
	g.Helper()

	for _, s := range g.open().Servers() {
		if s.Name != of(region, "carts") {
			continue
		}

		file := filepath.Join(s.Dir, "redis.conf")

		b, err := os.ReadFile(file)
		if err != nil {
			g.Fatal(err)
		}

		host, port, _ := strings.Cut(g.lines[of(other(region), "carts")].Address(), ":")

		text := string(b)
		if !strings.Contains(text, "replicaof") {
			text += "\nreplicaof " + host + " " + port + "\n"
		}

		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			g.Fatal(err)
		}
	}

	g.until("the old Redis is up", func() bool { return g.open().Start(g.Context(), of(region, "carts")) == nil })
}

// stateOf is the state of a process, as /proc has it; "" of one that is gone.
func stateOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(b), ") ")

	if err != nil || rest == "" {
		return ""
	}

	return rest[:1]
}
