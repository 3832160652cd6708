package regional_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"drctl/internal/lab"
	"drctl/internal/lab/rounds"
	"drctl/internal/lab/shop"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows/recovery"
)

// roundLimit is how long a round may take to its end, people's answers and a second engine included.
const roundLimit = 6 * time.Minute

// round is one move of the primaries under customers, with a fault in the middle.
type round struct {
	from, to string
	rnd      *rand.Rand
	began    time.Time // the newest run of it, at the earliest

	mu   sync.Mutex
	at   string // the note of the run at which the fault was planted; "" when it was not
	run  *moving
	dead atomic.Bool // engine, workers and command were killed
	asks int         // questions that were answered
	out  recovery.Out
}

func (x *round) planted(at string) {
	x.mu.Lock()
	defer x.mu.Unlock()

	x.at = at
}

// stopped reports whether a process is frozen.
func stopped(pid int) bool {
	return stateOf(pid) == "T"
}

// everything kills the engine, the workers and the command that shows the run.
func (x *round) everything(a *arena) {
	x.dead.Store(true)

	// Servers that a worker has started are its children, and nobody's victims here.
	for _, pid := range append(below(a.up.Process.Pid), a.up.Process.Pid) {
		if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); strings.HasPrefix(filepath.Base(exe), "drctl") {
			each(syscall.SIGKILL, pid)
		}
	}

	x.mu.Lock()
	defer x.mu.Unlock()

	if x.run != nil {
		_ = x.run.cmd.Process.Kill()
	}
}

// moving is a command that runs a recovery.
type moving struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   bytes.Buffer
	said  lines
	ended chan struct{}
}

func (a *arena) start(args ...string) *moving {
	a.Helper()

	m := &moving{cmd: a.command("drctl", args...), ended: make(chan struct{})}
	m.cmd.Stdout, m.cmd.Stderr = &m.out, &m.said

	var err error
	if m.in, err = m.cmd.StdinPipe(); err != nil {
		a.Fatal(err)
	}

	if err := m.cmd.Start(); err != nil {
		a.Fatal(err)
	}

	go func() {
		_ = m.cmd.Wait()
		close(m.ended)
	}()

	return m
}

// show is how far the newest run of the platform's engine has come.
func (a *arena) show() (o recovery.Out, ok bool) {
	out, _, _ := a.run("drctl", "recovery", "show", "--json")
	return o, json.Unmarshal([]byte(out), &o) == nil
}

// answers answers what a run asks, as a patient person does who knows nothing: try again, some times, then go on
// without, where that can be said, then give up.
//
// A fence it vouches for where it has seen itself that no server of the old side is alive. The archive of a lost Redis
// server may have more than its replica, which cannot be fed: that part it gives up.
type answers map[string]int

func (n answers) next(s recovery.Step, past, dead bool) (answer string) {
	n[s.ID]++

	switch {
	case s.Op == plan.OpFence && dead && n[s.ID] > 4:
		return "vouch"
	case s.Op == plan.OpFeed && strings.Contains(s.Error, "cannot be fed") && n[s.ID] > 2:
		return "skip"
	case n[s.ID] <= 4 || s.Op == plan.OpFence && n[s.ID] < 20:
		return "retry"
	case s.Question != machine.AskUndo && past && !s.Op.Fixed() && s.Op != plan.OpSection:
		return "skip"
	}

	return "give-up"
}

// attend waits for the end of a command and answers its questions meanwhile.
func (a *arena) attend(x *round, m *moving, n answers) {
	a.Helper()

	approved := 0 // a failback asks before it lets the old side come back, too

	for end := time.After(roundLimit); ; {
		select {
		case <-m.ended:
			return
		case <-end:
			_ = m.cmd.Process.Signal(syscall.SIGQUIT)
			o, _ := a.show()
			a.Fatalf("it does not end: %+v\n%s", o, m.said.String())
		case <-time.After(2 * time.Second):
		}

		// The command says what is asked; the engine knows what is asked now.
		text := m.said.String()
		if strings.Count(text, "approve with: ") > approved && a.approve != nil && a.approve() {
			approved++
		}

		if !strings.Contains(text, "answer with: ") || x.dead.Load() {
			continue
		}

		o, ok := a.show()
		for _, s := range o.Steps {
			if !ok || s.Status != machine.Asking {
				continue
			}

			say := n.next(s, o.Past, a.dead(x.from))
			if _, said, code := a.run("drctl", "recovery", "answer", s.ID, say, "--reason", "says the round"); code != 0 {
				a.Logf("answer %s %s: %s", s.ID, say, said)
			}

			x.asks++
		}
	}
}

// attendTyped does the same where the engine is the command's own: people type.
func (a *arena) attendTyped(x *round, m *moving) {
	a.Helper()

	n, seen := answers{}, 0

	for end := time.After(roundLimit); ; {
		select {
		case <-m.ended:
			return
		case <-end:
			_ = m.cmd.Process.Signal(syscall.SIGQUIT)
			a.Fatalf("it does not end:\n%s", m.said.String())
		case <-time.After(time.Second):
		}

		text := m.said.String()

		for line := range strings.Lines(text[seen:]) {
			_, ask, ok := strings.Cut(line, "; type: ")
			if !ok {
				continue
			}

			words := strings.Fields(ask)
			op := plan.Op(strings.Split(words[0], "-")[0])
			say := n.next(recovery.Step{ID: words[0], Op: op, Question: machine.AskFailed, Error: line}, false, a.dead(x.from))
			fmt.Fprintf(m.in, "%s %s says the round\n", words[0], say)

			x.asks++
		}

		seen = len(text)
	}
}

// goes runs a recovery to its end, whatever happens in its middle.
func (a *arena) goes(x *round, args ...string) {
	a.Helper()

	x.out, x.began = recovery.Out{}, time.Now()
	m := a.start(append(args, "--stay", "media", "--yes", "--json")...)

	x.mu.Lock()
	x.run = m
	x.mu.Unlock()

	n := answers{}
	a.attend(x, m, n)

	err := json.Unmarshal(m.out.Bytes(), &x.out)

	switch {
	case x.dead.Load():
		a.takenUp(x)
	case err != nil:
		// The command may have lost the engine for a while, and so the way to the end of its run.
		a.until("the run has ended", func() bool {
			o, ok := a.show()
			if !ok || o.Started.Before(x.began) {
				return !ok || m.cmd.ProcessState.ExitCode() != 0 && time.Since(x.began) > 30*time.Second
			}

			if x.out = o; o.Verdict == machine.Open {
				a.reply(x, o, n)
			}

			return o.Verdict != machine.Open
		})
		a.Logf("the command ended without a result: %s", last(m.said.String()))
	}
}

// dead reports whether no server of a region that has a primary lives.
func (a *arena) dead(region string) bool {
	return len(a.process(of(region, "orders")))+len(a.process(of(region, "carts"))) == 0
}

// reply answers all that a run asks.
func (a *arena) reply(x *round, o recovery.Out, n answers) {
	for _, s := range o.Steps {
		if s.Status == machine.Asking {
			a.run("drctl", "recovery", "answer", s.ID, n.next(s, o.Past, a.dead(x.from)), "--reason", "says the round")
			x.asks++
		}
	}
}

func last(text string) string {
	ls := strings.Split(strings.TrimSpace(text), "\n")
	return ls[len(ls)-1]
}

// takenUp goes on with a run whose engine was killed with another engine, and then brings the platform's back.
func (a *arena) takenUp(x *round) {
	a.Helper()

	_ = a.up.Wait()
	m := a.start("recovery", "resume", "--engine", "embedded", "--yes", "--json")
	a.attendTyped(x, m)

	if err := json.Unmarshal(m.out.Bytes(), &x.out); err != nil {
		// Killed before it began, or after its end, there is nothing to be taken up.
		said := m.said.String()
		if !strings.Contains(said, "it has ended") && !strings.Contains(said, "no recovery of the group has begun") && !strings.Contains(said, "nothing older is taken up") {
			a.Errorf("recovery resume: %s", said)
		}
	}

	a.serve()

	// The first engine knows the run too, and finds that it is not its own any more.
	n := answers{}
	a.until("the engine that was killed has let go of the run", func() bool {
		o, ok := a.show()
		if !ok || o.Started.Before(x.began) || o.Verdict != machine.Open {
			if ok && !o.Started.Before(x.began) && x.out.Verdict == "" {
				x.out = o
			}

			return true
		}

		for _, s := range o.Steps {
			if s.Status == machine.Asking {
				n[s.ID] += 10
			}
		}

		a.reply(x, o, n)

		return false
	})
}

// leader is the region whose servers take writes.
func (a *arena) leader() string {
	for _, region := range []string{lab.East, lab.West} {
		if a.open().Leads(a.Context(), region) == nil {
			return region
		}
	}

	return ""
}

// settled waits until one side takes writes alone and the other one follows, and says which side leads.
func (a *arena) settled(x *round) (leads string) {
	a.Helper()

	end := time.Now().Add(limit)
	for {
		if leads = a.leader(); leads != "" && a.follows(other(leads)) == "" {
			return leads
		}

		if time.Now().After(end) {
			return leads
		}

		time.Sleep(200 * time.Millisecond)
	}
}

// TestSwitchoverRounds moves the primaries from one region to the other and back under customers, with a fault in
// the middle of each move.
func TestSwitchoverRounds(t *testing.T) {
	a := newArena(t)
	a.serve()
	a.must("drctl", "backup", "now")

	seed := uint64(7001)
	if s := os.Getenv("DRCTL_ROUNDS_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}

	total := newTally(t)
	from := lab.East

	for n := range sandboxtest.Size(3, 60) {
		from = a.switchover(seed+uint64(n), from, total)

		if t.Failed() {
			t.Fatalf("seed %d", seed+uint64(n))
		}
	}

	total.say()

	if sandboxtest.Size(0, 1) > 0 {
		t.Run("what is planted is found", func(t *testing.T) { a.undoneIsFound(t, from) })
	}
}

// undoneIsFound undoes acknowledged writes behind the back of the customers: the registers' histories and the journal
// tell.
func (a *arena) undoneIsFound(t *testing.T, leads string) {
	t.Helper()

	leave := a.customers(1)
	a.serves(leads)

	used := func() int { return len(a.registers[0].Ops()) + len(a.registers[1].Ops()) }

	for range 30 {
		n := used()

		a.exec(leads, "UPDATE "+rounds.RegisterTable+" SET v = "+fmt.Sprint(a.registers[0].Begins))

		if err := a.redis(leads).Set(a.Context(), "drctl:register", a.registers[1].Begins, 0).Err(); err != nil {
			t.Fatal(err)
		}

		a.until("the registers are used", func() bool { return used() > n+20 })
	}

	leave()
	a.exec(leads, "DELETE FROM orders WHERE ctid IN (SELECT ctid FROM orders LIMIT 1)")

	for what, found := range map[string][]string{"histories": a.histories(nil, newTally(t)), "journal": a.compared(leads, nil, newTally(t))} {
		t.Logf("%s: %d findings", what, len(found))

		if len(found) == 0 || what == "histories" && len(found) != len(a.registers) {
			t.Errorf("acknowledged writes were undone, and the %s do not tell: %q", what, found)
		}
	}
}

// switchover is one round. It returns the region that leads afterwards.
func (a *arena) switchover(seed uint64, from string, total *tally) (leads string) {
	a.Helper()

	rnd := rand.New(rand.NewPCG(seed, 1))
	x := &round{from: from, to: other(from), rnd: rnd}
	began := time.Now()
	f, at := ofSwitchover[rnd.IntN(len(ofSwitchover))], choose(rnd, 5)

	if only := os.Getenv("DRCTL_ROUNDS_FAULT"); only != "" {
		for _, g := range ofSwitchover {
			if g.name == only {
				f = g
			}
		}
	}
	at = at.of(f)
	leave := a.customers(int64(seed))

	a.watch.Mark()

	disarm := a.arm(x, at, func() { f.do(a, x) })
	a.goes(x, "switchover", "run", "--from", x.from, "--to", x.to)
	disarm()
	a.mend()

	leads = a.settled(x)
	seen := a.watch.Since(x.from)
	acked := a.serves(leads)
	sum := leave()

	total.add(f.name, x, time.Since(began))
	a.Logf("seed %d: %s to %s, %s %s (%s): %s, %d questions, leads %s, %s; %d bought, %d failed, %d unknown; served again %t", seed, x.from, x.to, f.name, at, x.at,
		x.out.Verdict, x.asks, leads, time.Since(began).Round(100*time.Millisecond), sum.Acked, sum.Failed, sum.Unknown, acked)

	a.judged(x, leads, seen, nil, total)

	return leads
}

// serves waits until the registers are written through the routes after now.
func (a *arena) serves(leads string) bool {
	a.Helper()

	now := time.Now()

	for _, r := range a.registers {
		a.until("clients of "+r.Shard.String()+" write again, with "+leads+" in the lead", func() bool { return r.Acked().After(now) })
	}

	return true
}

// judged holds what was seen of a round against what may be, and wants the other side to follow.
func (a *arena) judged(x *round, leads string, seen []rounds.Seen, forks map[targets.ShardID]*rounds.Fork, total *tally) {
	a.Helper()

	if why := a.follows(other(leads)); why != "" && leads != "" {
		a.Errorf("the other side does not follow: %s\n%+v", why, x.out)
	}

	a.judgedAlone(x, leads, seen, forks, total)
}

// judgedAlone does so after a failover, whose other side is lost.
func (a *arena) judgedAlone(x *round, leads string, seen []rounds.Seen, forks map[targets.ShardID]*rounds.Fork, total *tally) {
	a.Helper()

	if leads == "" {
		a.Errorf("no side takes writes alone: %+v", x.out)
		return
	}

	if x.out.Verdict == machine.Reached && leads != x.to || x.out.Verdict == machine.TakenBack && leads != x.from {
		a.Errorf("it ended %s, and %s leads", x.out.Verdict, leads)
	}

	wrong := slices.Concat(watched(x, leads, seen, total), a.histories(forks, total), a.compared(leads, forks, total), a.left())
	for _, text := range wrong {
		a.Error(text)
	}

	if err := a.open().Leads(a.Context(), leads); err != nil {
		a.Error(err)
	}
}

// watched is what the watch has seen that may not be.
func watched(x *round, leads string, seen []rounds.Seen, total *tally) (wrong []string) {
	for _, s := range seen {
		if s.Both != "" {
			wrong = append(wrong, "TWO WRITERS: "+s.Both)
		}

		if leads == x.from && s.Took[x.to] > 0 {
			wrong = append(wrong, fmt.Sprintf("%s: %s leads, and %s took %d writes", s.Shard, leads, x.to, s.Took[x.to]))
		}

		total.watched(s)
	}

	return wrong
}

// histories is what no order of operations explains.
func (a *arena) histories(forks map[targets.ShardID]*rounds.Fork, total *tally) (wrong []string) {
	for _, r := range a.registers {
		j := rounds.Check(r.Begins, r.Ops(), forks[r.Shard])
		if j.Wrong != "" {
			wrong = append(wrong, fmt.Sprintf("the register of %s: %s", r.Shard, j.Wrong))
		}

		total.checked(j)
	}

	return wrong
}

// compared is what the shop's journal says otherwise.
func (a *arena) compared(leads string, forks map[targets.ShardID]*rounds.Fork, total *tally) (wrong []string) {
	a.Helper()

	p, err := platform(a.open(), func(id targets.ShardID) (targets.Instance, error) { return a.open().Instance(leads, id) })
	if err != nil {
		a.Fatal(err)
	}

	rep, err := shop.CheckServing(a.Context(), shop.CheckOptions{Platform: p, Journals: []string{a.journal}, List: 5000})
	if err != nil {
		a.Fatal(err)
	}

	if rep.Checked[shop.RuleAcked] == 0 {
		wrong = append(wrong, "nothing was compared with the journal")
	}

	for _, v := range a.mayBeLost(rep.Violations, forks) {
		wrong = append(wrong, fmt.Sprintf("the journal: %s: %s: %s", v.Rule, v.Subject, v.Detail))
	}

	if rep.Total > len(rep.Violations) {
		wrong = append(wrong, fmt.Sprintf("the journal: %d violations are not listed", rep.Total-len(rep.Violations)))
	}

	total.journaled(rep)

	return wrong
}
