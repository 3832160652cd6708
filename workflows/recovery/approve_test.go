package recovery_test

import (
	"context"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"golang.org/x/crypto/ssh"

	"drctl/internal/approval"
	"drctl/restore/machine"
	"drctl/workflows/recovery"
)

func signer(t *testing.T, seed byte) (ssh.Signer, string) {
	t.Helper()

	s, err := ssh.NewSignerFromSigner(ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), 32))))
	if err != nil {
		t.Fatal(err)
	}

	return s, string(ssh.MarshalAuthorizedKey(s.PublicKey()))
}

// keyholders are ann, with two keys, and bob.
func keyholders(t *testing.T) func(*world) {
	_, a1 := signer(t, 1)
	_, a2 := signer(t, 2)
	_, b := signer(t, 3)

	return func(w *world) {
		w.people = []approval.Person{{Name: "ann", Keys: []string{a1, a2}}, {Name: "bob", Keys: []string{b}}}
	}
}

func yes(t *testing.T, by string, seed byte, of approval.Subject) recovery.Reply {
	t.Helper()
	k, _ := signer(t, seed)
	now := time.Now().UTC()

	a, err := approval.Sign(approval.Approval{Subject: of, By: by, At: now, Expires: now.Add(time.Hour)}, k)
	if err != nil {
		t.Fatal(err)
	}

	return recovery.Reply{Answer: machine.SayYes, By: by, Approval: &a}
}

// people is how many have to approve a scenario.
func (s scenario) people() int {
	if s.approve != nil {
		return 2
	}

	return 0
}

// approved waits until the run asks to be approved.
func (s scenario) approved(ctx context.Context, t *testing.T, c client.Client, run client.WorkflowRun, w *world) {
	t.Helper()

	state := func() (o recovery.Out) {
		if v, err := c.QueryWorkflow(ctx, run.GetID(), run.GetRunID(), recovery.State); err == nil {
			_ = v.Get(&o)
		}

		return o
	}

	var asks recovery.Step
	for ; asks.Subject == nil; time.Sleep(20 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatal("nothing wants to be approved")
		}

		if o := state(); len(o.Steps) > 0 {
			if i := slices.IndexFunc(o.Steps, func(x recovery.Step) bool { return x.Question == machine.AskApprove }); i >= 0 {
				asks = o.Steps[i]
			}
		}
	}

	s.approve(t, w, func(r recovery.Reply) recovery.Given {
		r.Step = asks.ID
		before := len(state().Answers)

		if err := c.SignalWorkflow(ctx, run.GetID(), run.GetRunID(), recovery.Answer, r); err != nil {
			t.Fatal(err)
		}

		for ; ; time.Sleep(20 * time.Millisecond) {
			if o := state(); len(o.Answers) > before {
				return o.Answers[before]
			}

			if ctx.Err() != nil {
				t.Fatal("an answer was not heard")
			}
		}
	}, asks)
}

// twoApprove has everything refused that is no signature of another person for this run.
func twoApprove(t *testing.T, _ *world, say func(recovery.Reply) recovery.Given, asks recovery.Step) {
	t.Helper()

	old := *asks.Subject
	old.State = strings.Repeat("c", 64) // of another run

	edited := *asks.Subject
	edited.Plan = strings.Repeat("d", 64)

	refused := func(name, why string, r recovery.Reply) {
		t.Helper()

		if g := say(r); g.Taken || !strings.Contains(g.Why, why) {
			t.Errorf("%s: %+v", name, g)
		}
	}

	refused("nothing signed", "not signed", recovery.Reply{Answer: machine.SayYes, By: "bob"})
	refused("an approval of another run", "changed since", yes(t, "ann", 1, old))
	refused("an approval of another plan", "changed since", yes(t, "ann", 1, edited))
	refused("a wrong key", "not this person's", yes(t, "bob", 9, *asks.Subject))

	if g := say(yes(t, "ann", 1, *asks.Subject)); !g.Taken {
		t.Errorf("the first: %+v", g)
	}

	refused("one person with another key", "already", yes(t, "ann", 2, *asks.Subject))

	if g := say(yes(t, "bob", 3, *asks.Subject)); !g.Taken {
		t.Errorf("the second: %+v", g)
	}
}

// breaks goes on without approvals.
func breaks(t *testing.T, _ *world, say func(recovery.Reply) recovery.Given, _ recovery.Step) {
	t.Helper()

	if g := say(recovery.Reply{Answer: machine.SayYes, By: "ann", Glass: true, Reason: "nobody else can be reached"}); !g.Taken || g.By != "ann (break-glass)" {
		t.Errorf("%+v", g)
	}
}
