package regional_test

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"drctl/internal/lab"
	"drctl/targets/postgres/control"
)

// fault is what a round plants in the middle.
type fault struct {
	name string
	// early: planted before the section alone. See the list of what drctl cannot do yet in docs/recovery-plans.md.
	early bool
	// do plants it and takes it away again. It ends by itself.
	do func(a *arena, x *round)
}

// descends are the processes below one whose command line has words.
func descends(of int, words string) (out []int) {
	found, _ := exec.Command("pgrep", "-P", fmt.Sprint(of), "-f", words).Output()
	for _, s := range strings.Fields(string(found)) {
		var pid int
		if _, err := fmt.Sscan(s, &pid); err == nil {
			out = append(out, pid)
		}
	}

	return out
}

// each sends a signal to processes that may be gone.
func each(sig syscall.Signal, pids ...int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig)
	}
}

// freeze stops processes for a while.
func freeze(long time.Duration, pids ...int) {
	each(syscall.SIGSTOP, pids...)
	time.Sleep(long)
	each(syscall.SIGCONT, pids...)
}

// process is a server of the lab with all its children.
func (p *place) process(name string) (pids []int) {
	for _, s := range p.open().Servers() {
		if s.Name == name && s.Proc.Alive() {
			return append([]int{s.Proc.Pid}, below(s.Proc.Pid)...)
		}
	}

	return nil
}

// restarted kills a server of the lab, and a moment later somebody starts it again, as service
// managers do. A PostgreSQL server that was stopped in order meanwhile stays down: whoever stopped it starts it.
func (a *arena) restarted(name string) {
	if len(a.process(name)) == 0 {
		return
	}

	if err := a.open().Break(a.Context(), "kill", name); err != nil {
		a.Errorf("kill %s: %v", name, err)
	}

	time.Sleep(300 * time.Millisecond)

	a.revive(name)
}

// revive starts what died.
func (a *arena) revive(name string) {
	var err error

	for range 20 {
		l := a.open()

		for _, s := range l.Servers() {
			if s.Name != name || s.Shard != orders || s.Region == "" {
				continue
			}

			if st, serr := control.ReadState(s.Dir); serr == nil && (st.Phase == control.ShutDown || st.Phase == control.ShutDownInRecovery) {
				return
			}
		}

		if err = l.Start(a.Context(), name); err == nil || len(a.process(name)) > 0 {
			return
		}

		time.Sleep(500 * time.Millisecond)
	}

	a.Errorf("%s cannot be started again: %v", name, err)
}

// away has a front refuse everything for a while.
func (a *arena) away(name string, long time.Duration) {
	a.fronts[name].set(true)
	time.Sleep(long)
	a.fronts[name].set(false)
}

// cut cuts the lines before servers for a while.
func (a *arena) cut(long time.Duration, names ...string) {
	for _, n := range names {
		a.lines[n].Cut()
	}

	time.Sleep(long)

	for _, n := range names {
		a.lines[n].Mend()
	}
}

func of(region string, kind string) string { return filepath.Join(region, kind, "0") }

// some is a while that is longer than a step, and shorter than what drctl waits for.
func some(r *rand.Rand) time.Duration {
	return 300*time.Millisecond + time.Duration(r.Int64N(int64(2500*time.Millisecond)))
}

// everywhere are the faults of a switchover and, where both sides have to be there, only of that.
var everywhere = []fault{
	{"kill worker", false, func(a *arena, x *round) {
		each(syscall.SIGKILL, descends(a.up.Process.Pid, "worker --region "+x.to)...)
	}},
	{"freeze worker", false, func(a *arena, x *round) {
		freeze(some(x.rnd), descends(a.up.Process.Pid, "worker --region "+x.to)...)
	}},
	{"kill engine", false, func(a *arena, _ *round) { each(syscall.SIGKILL, descends(a.up.Process.Pid, "drctl-engine")...) }},
	{"freeze engine", false, func(a *arena, x *round) { freeze(some(x.rnd), descends(a.up.Process.Pid, "drctl-engine")...) }},
	{"kill engine, workers and command", false, func(a *arena, x *round) { x.everything(a) }},
	{"kill new PostgreSQL", false, func(a *arena, x *round) { a.restarted(of(x.to, "orders")) }},
	{"freeze new PostgreSQL", false, func(a *arena, x *round) { freeze(some(x.rnd), a.process(of(x.to, "orders"))...) }},
	{"freeze new Redis", false, func(a *arena, x *round) { freeze(some(x.rnd), a.process(of(x.to, "carts"))...) }},
	{"kill PgBouncer", false, func(a *arena, _ *round) { a.restarted(of("proxy", "orders")) }},
	{"freeze PgBouncer", false, func(a *arena, x *round) { freeze(some(x.rnd), a.process(of("proxy", "orders"))...) }},
	{"freeze HAProxy", false, func(a *arena, x *round) { freeze(some(x.rnd), a.process(of("proxy", "carts"))...) }},
	{"new vault away", false, func(a *arena, x *round) { a.away(x.to, some(x.rnd)) }},
	{"old vault away", false, func(a *arena, x *round) { a.away(x.from, some(x.rnd)) }},
	{"witness away", false, func(a *arena, x *round) { a.away("witness", some(x.rnd)) }},
	{"new servers cut off", false, func(a *arena, x *round) { a.cut(some(x.rnd), of(x.to, "orders"), of(x.to, "carts")) }},
}

// ofSwitchover are those that need an old side which is well.
var ofSwitchover = append([]fault{
	{"kill old PostgreSQL", false, func(a *arena, x *round) { a.restarted(of(x.from, "orders")) }},
	{"freeze old PostgreSQL", false, func(a *arena, x *round) { freeze(some(x.rnd), a.process(of(x.from, "orders"))...) }},
	{"kill old Redis", false, func(a *arena, x *round) { a.restarted(of(x.from, "carts")) }},
	{"kill new Redis", true, func(a *arena, x *round) { a.restarted(of(x.to, "carts")) }},
	{"freeze old Redis", false, func(a *arena, x *round) { freeze(some(x.rnd), a.process(of(x.from, "carts"))...) }},
	{"old servers cut off", false, func(a *arena, x *round) { a.cut(some(x.rnd), of(x.from, "orders"), of(x.from, "carts")) }},
}, everywhere...)

// trigger says when a fault is planted: so long after a write of the run's journal was sent to the vault of the
// region that takes over.
type trigger struct {
	entry int // of the section's journal; 0: count
	count int // of everything that the run notes down
	after time.Duration
}

func (t trigger) String() string {
	if t.entry > 0 {
		return fmt.Sprintf("%s after entry %d of the section", t.after.Round(time.Millisecond), t.entry)
	}

	return fmt.Sprintf("%s after note %d of the run", t.after.Round(time.Millisecond), t.count)
}

// choose takes a place in the run by chance: mostly within its section, whose journal has so many entries.
func choose(r *rand.Rand, entries int) (t trigger) {
	t.after = time.Duration(r.Int64N(int64(60 * time.Millisecond)))
	if r.IntN(4) == 0 {
		t.after *= 10
	}

	if r.IntN(5) == 0 {
		t.count = 1 + r.IntN(16)
	} else {
		t.entry = 1 + r.IntN(entries)
	}

	return t
}

// of keeps a place before the section, for faults that are planted there alone.
func (t trigger) of(f fault) trigger {
	if f.early {
		t.count, t.entry = 1+(t.count+t.entry)%5, 0
	}

	return t
}

// arm plants a fault at its place, once. disarm ends the waiting for it.
func (a *arena) arm(x *round, t trigger, do func()) (disarm func()) {
	var mu sync.Mutex

	seen := map[string]bool{}
	done := false

	hook := func(key string) {
		at := strings.Index(key, "reports/journal-of-shop-")
		if at < 0 && !strings.Contains(key, "reports/promotion-of-shop/") && !strings.Contains(key, "reports/recovery-of-shop/") {
			return
		}

		name := strings.TrimSuffix(filepath.Base(key), ".json.zst.age")

		mu.Lock()
		defer mu.Unlock()

		if done || seen[key] {
			return
		}
		seen[key] = true

		if t.entry > 0 && !strings.HasSuffix(name, fmt.Sprintf("-%06d", t.entry)) || t.entry > 0 && strings.HasPrefix(name, "taken-up-") || t.entry == 0 && len(seen) != t.count {
			return
		}
		done = true

		a.planted.Go(func() {
			time.Sleep(t.after)
			x.planted(name)
			do()
		})
	}
	a.fronts[x.to].listen(hook)

	return func() {
		a.fronts[x.to].listen(nil)
		a.planted.Wait()
	}
}

// mend takes away whatever a fault may have left: nothing is frozen, cut or away.
func (a *arena) mend() {
	for _, f := range a.fronts {
		f.set(false)
	}

	for _, l := range a.lines {
		l.Mend()
	}

	for _, s := range a.open().Servers() {
		each(syscall.SIGCONT, a.process(s.Name)...)
	}

	each(syscall.SIGCONT, below(a.up.Process.Pid)...)
}

// left lists what is frozen.
func (a *arena) left() (out []string) {
	for _, s := range a.open().Servers() {
		for _, pid := range a.process(s.Name) {
			if stopped(pid) {
				out = append(out, fmt.Sprintf("%s: process %d is frozen", s.Name, pid))
			}
		}
	}

	for _, region := range []string{lab.East, lab.West} {
		for _, pid := range descends(a.up.Process.Pid, "worker --region "+region) {
			if stopped(pid) {
				out = append(out, fmt.Sprintf("the worker of %s is frozen", region))
			}
		}
	}

	return out
}
