package switchover_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"drctl/internal/proc"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres"
)

// order is what a child of the test does.
type order struct {
	From, To, Bin string
	Dirs          [2]string
	Epoch         uint64
}

func (o order) instances() (from, to targets.Instance) {
	make := func(address, region, dir string) targets.Instance {
		return targets.Instance{Kind: targets.Postgres, Shard: targets.ShardID{Target: "orders", Shard: "0"}, Region: region, Address: address, User: "drctl",
			Password: targets.NewSecret(sandboxtest.Password), Database: "postgres", DataDir: dir}
	}

	return make(o.From, "from", o.Dirs[0]), make(o.To, "to", o.Dirs[1])
}

// steps does the steps of a switchover from one of them on, and says before each
// which it is.
func steps(ctx context.Context, d *postgres.Driver, o order, at string, say func(string)) error {
	from, to := o.instances()

	h, err := d.Switch(handover.Request{Old: from, New: to, Epoch: o.Epoch})
	if err != nil {
		return err
	}
	defer h.Close()

	var s handover.Stopped
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"prepare", func() error { _, err := h.Prepare(ctx); return err }},
		{"drain", func() error { _, err := h.Drain(ctx); return err }},
		{"stop", func() (err error) { s, err = h.Stop(ctx); return err }},
		{"promote", func() (err error) {
			if s.At.Offset == 0 { // the journal has it; here the old side says it again
				if s, err = h.Stop(ctx); err != nil {
					return err
				}
			}
			history, err := os.ReadFile(from.DataDir + "/pg_wal/" + s.At.Timeline[len(s.At.Timeline)-8:] + ".history")
			if err != nil && !strings.HasSuffix(s.At.Timeline, "-00000001") {
				return err
			}
			_, err = h.Promote(ctx, handover.PromoteRequest{Line: s.At, History: history, Exact: true, Silence: []handover.Silence{s.Silence}})

			return err
		}},
		{"probe", func() error { return h.Probe(ctx) }},
		{"rejoin", func() error { _, err := d.Rejoin(ctx, handover.RejoinRequest{Old: from, New: to}); return err }},
	} {
		if at != "" && at != step.name {
			continue
		}
		at = ""

		say(step.name)

		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}

	return nil
}

// TestChild is the process that is killed.
func TestChild(t *testing.T) {
	var o order
	if json.Unmarshal([]byte(os.Getenv("DRCTL_TEST_SWITCH")), &o) != nil {
		return
	}
	tools := sandboxtest.Tools(t)
	err := steps(t.Context(), postgres.New(postgres.Options{Tools: tools, SlotName: slot}), o, "", func(s string) { fmt.Println("step", s) })
	fmt.Println("ended", err)
}

// Whoever does a switchover is killed in the middle of a step. Another goes on with
// that step, or undoes it, and no row is lost, never two take writes.
func TestKilledInTheMiddleOfAStepAnotherGoesOn(t *testing.T) {
	t.Parallel()
	p := newPair(t, sandboxtest.Tools(t))
	rnd := rand.New(rand.NewPCG(7, 9))

	rows := 0
	for round := range sandboxtest.Size(6, 60) {
		rows++

		p.exec(p.a, fmt.Sprintf("INSERT INTO t (note) VALUES ('round %d')", round))

		p.archived(p.a)

		o := order{From: p.a.Address, To: p.b.Address, Dirs: [2]string{p.a.DataDir, p.b.DataDir}, Epoch: uint64(round + 2)}
		victim := []string{"prepare", "drain", "stop", "promote", "probe", "rejoin"}[round%6]
		last := p.killedIn(o, victim, time.Duration(rnd.IntN(40))*time.Millisecond)

		from, to := o.instances()
		if last == "drain" || last == "stop" && round%12 >= 6 {
			h := p.hands(from, to, o.Epoch)
			if err := h.Undo(p.context(), false); err != nil {
				t.Fatalf("round %d, undo after %s: %v", round, last, err)
			}
			last = "prepare"
		}

		if err := steps(p.context(), p.d, o, last, func(string) {}); err != nil {
			t.Fatalf("round %d, killed in %s: %v", round, last, err)
		}

		if p.ask(p.a, "SELECT pg_is_in_recovery()") != "true" || p.ask(p.b, "SELECT pg_is_in_recovery()") != "false" {
			t.Fatalf("round %d: not just the new side takes writes", round)
		}

		if n := p.ask(p.b, "SELECT count(*) FROM t"); n != fmt.Sprint(rows) {
			t.Fatalf("round %d: %s of %d rows", round, n, rows)
		}

		p.a, p.b = p.b, p.a
	}
}

// killedIn runs a child, kills it some time after it has begun a step, and says in
// which it was.
func (p *pair) killedIn(o order, step string, after time.Duration) (last string) {
	p.Helper()

	b, err := json.Marshal(o)
	if err != nil {
		p.Fatal(err)
	}

	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	cmd.Env = append(os.Environ(), "DRCTL_TEST_SWITCH="+string(b))

	out, err := cmd.StdoutPipe()
	if err == nil {
		err = proc.StartChild(cmd)
	}

	if err != nil {
		p.Fatal(err)
	}

	defer func() { _ = cmd.Wait() }()

	for in := bufio.NewScanner(out); in.Scan(); {
		if name, ok := strings.CutPrefix(in.Text(), "step "); ok {
			if last = name; name == step {
				time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			}
		}

		if err, ok := strings.CutPrefix(in.Text(), "ended "); ok && err != "<nil>" {
			p.Fatalf("the child: %s", err)
		}
	}

	return last
}
