package regional_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"drctl/internal/detection"
	"drctl/internal/lab"
	"drctl/internal/lab/delay"
	"drctl/internal/lab/rounds"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/restore/losses"
	"drctl/restore/machine"
	"drctl/targets"
	"drctl/workflows/recovery"
)

// places is an arena whose regions and third place are places of their own: each reaches what is in another place
// over a line of its own.
type places struct {
	*guarded
	// ways are the lines, by who looks and at what: "east/orders/0", "east/vault", "witness", "engine".
	ways    map[string]map[string]*delay.Proxy
	files   map[string]string // configurations, by place
	keepers map[string]*keeper
	ann     string // a key of who may approve
}

// keeper runs a program, and starts it again when it dies, as a service manager does.
type keeper struct {
	mu   sync.Mutex
	cmd  *exec.Cmd
	said lines
	end  bool
	all  sync.WaitGroup
}

// keep keeps a program running until the test ends.
func (s *places) keep(name string, args ...string) {
	k := &keeper{}
	s.keepers[name] = k

	k.all.Go(func() {
		for {
			c := s.command(args[0], args[1:]...)
			c.Stdout, c.Stderr = &k.said, &k.said

			k.mu.Lock()

			if k.end {
				k.mu.Unlock()
				return
			}

			hold, err := c.StdinPipe() // an engine ends with who started it
			if err == nil {
				err = c.Start()
			}
			k.cmd = c

			k.mu.Unlock()

			if err == nil {
				_ = c.Wait()
				_ = hold.Close()
			}

			time.Sleep(200 * time.Millisecond)
		}
	})

	s.Cleanup(func() {
		k.mu.Lock()
		k.end = true
		c := k.cmd
		k.mu.Unlock()

		if c != nil && c.Process != nil {
			_ = c.Process.Signal(syscall.SIGTERM)
		}

		k.all.Wait()

		if s.Failed() {
			text := k.said.String()
			s.Logf("%s:\n%s", name, text[max(0, len(text)-20000):])
		}
	})
}

func (s *places) kill(name string) {
	k := s.keepers[name]

	k.mu.Lock()
	defer k.mu.Unlock()

	_ = k.cmd.Process.Kill()
}

// newPlaces starts the lab, an engine outside of both regions, a worker and a guard in each, and a third place that looks.
func newPlaces(t *testing.T) *places {
	t.Helper()

	s := &places{guarded: &guarded{arena: newArena(t), guards: map[string]*os.Process{}}, ways: map[string]map[string]*delay.Proxy{}, files: map[string]string{}, keepers: map[string]*keeper{}}
	s.again = s.stand
	s.approve = func() bool {
		_, _, code := s.run("drctl", "recovery", "approve", "--yes", "--key", s.ann)
		return code == 0
	}
	ann, public := s.keypair("ann")
	s.ann = ann
	s.configure(fmt.Sprintf(`
detection: {interval: 3s, limit: 2s, lost: 9s, up: 3s, block: 1s, places: [third]}
recovery:
  shop:
    decision: automatic
    stay: [media]
    approvals: 1
    approvers:
      ann: {keys: [%s]}
`, public))

	// One engine's certificates and one schedule serve everybody: drctl up makes them, and ends.
	s.serve()
	s.must("drctl", "backup", "now")

	_ = s.up.Process.Signal(syscall.SIGTERM)
	_ = s.up.Wait()

	for _, who := range []string{lab.East, lab.West, "third"} {
		s.view(who)
	}

	_, port, _ := strings.Cut(s.engineAddress(), ":")
	s.keep("engine", "drctl-engine", "--dir", filepath.Join(s.dir, "state", "engine"), "--port", port, "--namespace", "drctl")

	for _, region := range []string{lab.East, lab.West} {
		s.keep("worker "+region, "drctl", "--config", s.files[region], "worker", "--region", region)
		s.stand(region)
	}

	s.keep("third", "drctl", "--config", s.files["third"], "detection", "watch", "--at", "third")

	return s
}

// stand starts the guard of a region, as that region sees the others.
func (s *places) stand(region string) {
	s.Helper()

	said := &lines{}
	c := s.command("drctl", "--config", s.files[region], "guard", "--region", region)
	c.Stdout, c.Stderr = said, said

	if err := c.Start(); err != nil {
		s.Fatal(err)
	}
	s.guards[region] = c.Process

	s.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()

		if s.Failed() {
			s.Logf("guard of %s:\n%s", region, said)
		}
	})
}

func (s *places) engineAddress() string {
	s.Helper()

	b, err := os.ReadFile(filepath.Join(s.dir, "drctl.yaml"))
	if err != nil {
		s.Fatal(err)
	}

	_, rest, _ := strings.Cut(string(b), `engine: {mode: embedded, address: "`)
	address, _, ok := strings.Cut(rest, `"`)

	if !ok {
		s.Fatal("the configuration names no engine")
	}

	return address
}

// view writes the configuration of a place.
func (s *places) view(who string) {
	s.Helper()

	b, err := os.ReadFile(filepath.Join(s.dir, "drctl.yaml"))
	if err != nil {
		s.Fatal(err)
	}
	s.ways[who] = map[string]*delay.Proxy{}

	over := func(what, address string) {
		line, err := delay.Listen("127.0.0.1:0", address, 0)
		if err != nil {
			s.Fatal(err)
		}

		s.Cleanup(line.Close)
		s.ways[who][what] = line

		if !bytes.Contains(b, []byte(address+`"`)) {
			s.Fatalf("the configuration has no %s", address)
		}
		b = bytes.ReplaceAll(b, []byte(address+`"`), []byte(line.Address()+`"`))
	}
	host := func(name string) string {
		u, err := url.Parse(s.fronts[name].url)
		if err != nil {
			s.Fatal(err)
		}

		return u.Host
	}

	for _, region := range []string{lab.East, lab.West} {
		if region == who {
			continue
		}

		over(region+"/vault", host(region))

		for _, kind := range []string{"orders", "carts"} {
			over(of(region, kind), s.lines[of(region, kind)].Address())
		}
	}

	over("witness", host("witness"))

	if who != "third" {
		over("engine", s.engineAddress())
	}

	s.files[who] = filepath.Join(s.dir, who+".yaml")
	if err := os.WriteFile(s.files[who], b, 0o600); err != nil {
		s.Fatal(err)
	}
}

// isolate cuts all lines over a region's border, and heal mends them.
func (s *places) isolate(region string) { s.border(region, (*delay.Proxy).Cut) }
func (s *places) heal(region string)    { s.border(region, (*delay.Proxy).Mend) }

func (s *places) border(region string, do func(*delay.Proxy)) {
	for who, ways := range s.ways {
		for what, line := range ways {
			if who == region || strings.HasPrefix(what, region+"/") {
				do(line)
			}
		}
	}
}

// follow has the servers of the west follow those of the east as the west sees them.
func (s *places) follow() {
	s.Helper()

	was := s.lines
	s.lines = map[string]*delay.Proxy{}

	for name, line := range was {
		s.lines[name] = line
		if way := s.ways[lab.West][name]; way != nil {
			s.lines[name] = way
		}
	}

	s.link(lab.West)
	s.lines = was
}

// split is a kind of round. It returns whether the group has to be in the west at the end; maybe is for those that may
// end either way.
type split struct {
	name string
	do   func(s *places, x *round) (moves, maybe bool)
}

// taken waits until nobody has to wait for the west any more.
func (s *places) taken(x *round) {
	s.Helper()
	s.until("the west has taken over", func() bool {
		o, ok := s.show()
		x.out = o

		return ok && !o.Started.Before(x.began) && o.Mode == "failover" && o.Verdict != machine.Open
	})
}

// quiet wants that nothing begins for a while.
func (s *places) quiet(x *round, long time.Duration) {
	s.Helper()
	time.Sleep(long)

	if o, ok := s.show(); ok && o.Started.After(x.began) && o.Mode == "failover" {
		s.Errorf("a failover has begun: %+v", o)
	}
}

var splits = []split{
	{"cut off, but alive", func(s *places, x *round) (bool, bool) {
		s.isolate(lab.East)
		s.taken(x)
		s.heal(lab.East)

		return true, false
	}},
	{"healed in the middle", func(s *places, x *round) (bool, bool) {
		s.isolate(lab.East)
		time.Sleep(time.Duration(x.rnd.Int64N(int64(25 * time.Second))))
		s.heal(lab.East)

		return false, true
	}},
	{"both cut from the witness", func(s *places, x *round) (bool, bool) {
		s.ways[lab.East]["witness"].Cut()
		s.ways[lab.West]["witness"].Cut()
		s.quiet(x, 15*time.Second)
		s.ways[lab.East]["witness"].Mend()
		s.ways[lab.West]["witness"].Mend()

		return false, false
	}},
	{"both cut from the witness, and one lost", func(s *places, x *round) (bool, bool) {
		s.fronts["witness"].set(true)
		s.isolate(lab.East)
		s.quiet(x, 20*time.Second)
		s.fronts["witness"].set(false)
		s.taken(x)
		s.heal(lab.East)

		return true, false
	}},
	{"the approver's message comes late", func(s *places, x *round) (bool, bool) {
		late := s.approvesLate(x)

		s.isolate(lab.East)
		s.taken(x)
		late()
		s.heal(lab.East)

		return true, false
	}},
	{"a worker dies at every entry", func(s *places, x *round) (bool, bool) {
		// Each of its lives ends at the next entry, whichever life writes it.
		seen := map[string]bool{}

		var mu sync.Mutex

		s.fronts[lab.West].listen(func(key string) {
			mu.Lock()
			defer mu.Unlock()

			if at := strings.Index(key, "reports/journal-of-shop-"); at < 0 || seen[key] || !strings.Contains(filepath.Base(key), "-0000") {
				return
			}
			seen[key] = true

			s.planted.Go(func() {
				time.Sleep(time.Duration(x.rnd.Int64N(int64(30 * time.Millisecond))))
				s.kill("worker west")
			})
		})
		s.isolate(lab.East)
		s.taken(x)
		s.fronts[lab.West].listen(nil)
		s.planted.Wait()
		s.heal(lab.East)
		x.planted(fmt.Sprintf("%d entries", len(seen)))

		if len(seen) < 2 { // how it begins, and what was done
			s.Errorf("the worker was killed at %d entries", len(seen))
		}

		return true, false
	}},
}

// approvesLate begins a switchover that a person approves, whose signature hangs. Meanwhile the switchover is taken back. late lets
// the message come: it counts for nothing any more.
func (s *places) approvesLate(x *round) (late func()) {
	s.Helper()

	ready, script := filepath.Join(s.bin, "ready"), filepath.Join(s.bin, "ssh-keygen")
	_ = os.Remove(ready)

	real, err := exec.LookPath("ssh-keygen")
	if err != nil {
		s.Fatal(err)
	}

	if err := os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\nwhile ! [ -e %s ]; do sleep 0.1; done\nexec %s \"$@\"\n", ready, real), 0o755); err != nil {
		s.Fatal(err)
	}

	m := s.start("switchover", "run", "--from", lab.East, "--to", lab.West, "--yes", "--json")
	s.until("it asks for an approval", func() bool {
		o, ok := s.show()
		return ok && !o.Started.Before(x.began) && slices.ContainsFunc(o.Steps, func(t recovery.Step) bool { return t.Question == machine.AskApprove && t.Subject != nil })
	})

	signs := s.start("recovery", "approve", "--yes", "--key", s.ann+".pub")

	time.Sleep(2 * time.Second) // until it hangs, or nearly

	_ = m.cmd.Process.Signal(syscall.SIGINT)
	<-m.ended

	return func() {
		before := s.epochs().Present

		if err := os.WriteFile(ready, nil, 0o600); err != nil {
			s.Fatal(err)
		}

		<-signs.ended
		_ = os.Remove(script)

		if code := signs.cmd.ProcessState.ExitCode(); code == 0 {
			s.Errorf("an approval that came late was taken: %s", signs.out.String())
		}

		if now := s.epochs().Present; now.Epoch != before.Epoch || now.Holder != before.Holder {
			s.Errorf("a late approval changed the epoch from %+v to %+v", before, now)
		}
	}
}

// TestSplitBrain cuts regions off that are alive, under decision: automatic. Never do two take writes, and it always ends.
func TestSplitBrain(t *testing.T) {
	many := sandboxtest.Size(0, 54)
	if many == 0 {
		t.Skip("a part of the nightly run")
	}

	s := newPlaces(t)
	total, home := newTally(t), newTally(t)

	seed := uint64(5001)
	if text := os.Getenv("DRCTL_ROUNDS_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}

	for n := range many {
		s.part(seed+uint64(n), total, home)

		if t.Failed() {
			t.Fatalf("seed %d", seed+uint64(n))
		}
	}

	total.say()
	t.Log("and on the way home:")
	home.say()
}

// part is one round.
func (s *places) part(seed uint64, total, home *tally) {
	s.Helper()
	s.covered(lab.East)
	s.follow()
	s.held(lab.East, detection.Up, lab.East, lab.West, "third")

	x := &round{from: lab.East, to: lab.West, rnd: rand.New(rand.NewPCG(seed, 3)), began: time.Now().Add(-time.Second)}
	kind := splits[int(seed)%len(splits)]

	if only := os.Getenv("DRCTL_ROUNDS_FAULT"); only != "" {
		for _, k := range splits {
			if k.name == only {
				kind = k
			}
		}
	}
	leave := s.customers(int64(seed))

	s.watch.Mark()
	time.Sleep(time.Second)

	began := time.Now()
	moves, maybe := kind.do(s, x)
	leads := s.comes(x, maybe)

	s.serves(leads)

	end := time.Now()
	sum := leave()

	time.Sleep(500 * time.Millisecond) // of what was cut off, the guard is to hear

	seen := s.watch.Since(x.from)
	total.add(kind.name, x, end.Sub(began))
	total.faults[kind.name]++

	forks := map[targets.ShardID]*rounds.Fork{}

	if leads == x.to && x.out.Loss != nil {
		for _, l := range x.out.Loss.Shards {
			if l.Verdict != losses.Nothing {
				forks[l.Shard] = forkOf(seen, l, began, end)
			}
		}
	}

	s.Logf("seed %d: %s %s: %s, leads %s, %s; %d bought, %d failed, %d unknown", seed, kind.name, x.at, x.out.Verdict, leads, end.Sub(began).Round(100*time.Millisecond), sum.Acked, sum.Failed, sum.Unknown)

	if want := map[bool]string{true: x.to, false: x.from}[moves]; leads != want && !maybe {
		s.Errorf("%s leads, and %s has to: %s", leads, want, whyNot(x))
	}

	if leads == x.from {
		x.out.Verdict = machine.TakenBack // nothing was begun
		s.judged(x, leads, seen, forks, total)

		return
	}

	s.judgedAlone(x, leads, seen, forks, total)

	if !s.Failed() {
		s.goHome(seed, x, home)
	}
}

// comes waits until one side takes writes alone. Where the region that was cut off has stopped its servers and has come
// back before anybody took over, its servers are started again, as a person does.
func (s *places) comes(x *round, maybe bool) (leads string) {
	s.Helper()

	begin, started := time.Now(), false
	s.until("one side takes writes alone", func() bool {
		o, ok := s.show()
		if ok && !o.Started.Before(x.began) && o.Mode == "failover" {
			x.out = o

			return o.Verdict != machine.Open && s.leads(&leads)
		}

		if maybe && !started && time.Since(begin) > 40*time.Second {
			started = true

			for _, kind := range []string{"orders", "carts"} {
				if err := s.open().Start(s.Context(), of(x.from, kind)); err != nil {
					s.Logf("%v", err)
				}
			}
		}

		return time.Since(begin) > 5*time.Second && s.leads(&leads) && s.follows(other(leads)) == ""
	})

	return leads
}

func (s *places) leads(at *string) bool {
	*at = s.leader()
	return *at != ""
}
