package silence

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"drctl/internal/approval"
	"drctl/internal/fail"
	"drctl/targets"
)

const east = "orders/1@east"

var (
	now   = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	shard = targets.ShardID{Target: "orders", Shard: "1"}
)

// proofs are good ones, of each kind.
func proofs(t *testing.T) (Need, map[Kind]Proof) {
	t.Helper()

	key, err := ssh.NewSignerFromSigner(ed25519.NewKeyFromSeed([]byte(strings.Repeat("a", 32))))
	if err != nil {
		t.Fatal(err)
	}
	ann := approval.Person{Name: "ann", Keys: []string{string(ssh.MarshalAuthorizedKey(key.PublicKey()))}}
	n := Need{
		Group: "shop", Shard: shard, Epoch: 7, To: "west", Instances: []string{east}, Key: Key("the vault's"),
		Statements: approval.Rule{Need: 1, Of: []approval.Person{ann}},
	}

	base := Proof{Group: "shop", Shard: shard, Instance: east, Epoch: 7, Since: now, By: "failover"}
	stop, hook, guard, word := base, base, base, base
	stop.Kind, stop.Stop = Stopped, &StopEvidence{End: targets.Position{Kind: targets.Postgres, Timeline: "7-00000001", Offset: 9}, Gone: true}
	hook.Kind, hook.Hook = Hook, &HookEvidence{Name: "power", Output: strings.Repeat("a", 64)}
	guard.Kind, guard.Guard = Guard, &GuardEvidence{Guard: "host1", Holder: "east", To: "west", Instances: []string{east}, Lease: 5 * time.Second, Waited: 5500 * time.Millisecond}
	word.Kind = Statement

	a, err := approval.Sign(approval.Approval{Subject: word.Words(), By: "ann", At: now, Expires: now.Add(time.Hour)}, key)
	if err != nil {
		t.Fatal(err)
	}
	word.Signed = []Signed{a}

	return n, map[Kind]Proof{Stopped: Sign(stop, n.Key), Hook: Sign(hook, n.Key), Guard: Sign(guard, n.Key), Statement: word}
}

func TestEachKindIsEnough(t *testing.T) {
	n, ps := proofs(t)
	for kind, p := range ps {
		if err := Check(n, []Proof{p}, now); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestWhatIsNoProof(t *testing.T) {
	for name, c := range map[string]struct {
		kind   Kind
		change func(*Need, *Proof) // before it is signed
		after  func(*Proof)
		say    string
	}{
		"of another server":         {kind: Hook, change: func(_ *Need, p *Proof) { p.Instance = "orders/2@east" }, say: "nothing shows"},
		"of another shard":          {kind: Hook, change: func(_ *Need, p *Proof) { p.Shard.Shard = "2" }, say: "orders/2"},
		"of an earlier epoch":       {kind: Hook, change: func(_ *Need, p *Proof) { p.Epoch = 6 }, say: "epoch 6"},
		"of another group":          {kind: Guard, change: func(_ *Need, p *Proof) { p.Group = "bank" }, say: "bank"},
		"changed afterwards":        {kind: Guard, after: func(p *Proof) { p.Guard.Waited *= 2 }, say: "changed"},
		"without a signature":       {kind: Stopped, after: func(p *Proof) { p.Signature = "" }, say: "changed"},
		"made with another key":     {kind: Hook, change: func(n *Need, _ *Proof) { n.Key = Key("other") }, after: func(p *Proof) { *p = Sign(*p, Key("guessed")) }, say: "changed"},
		"a hook that failed":        {kind: Hook, change: func(_ *Need, p *Proof) { p.Hook.Exit = 1 }, say: "ended with 1"},
		"nothing behind it":         {kind: Hook, change: func(_ *Need, p *Proof) { p.Hook = nil }, say: "nothing behind"},
		"a guard of other servers":  {kind: Guard, change: func(_ *Need, p *Proof) { p.Guard.Instances = []string{"orders/2@east"} }, say: "does not answer"},
		"a lease not waited for":    {kind: Guard, change: func(_ *Need, p *Proof) { p.Guard.Waited = p.Guard.Lease }, say: "waited"},
		"a claim for the same side": {kind: Guard, change: func(_ *Need, p *Proof) { p.Guard.Holder = "west" }, say: "not over"},
		"a claim for a third":       {kind: Guard, change: func(_ *Need, p *Proof) { p.Guard.To = "north" }, say: "not over"},
		"a server still there":      {kind: Stopped, change: func(_ *Need, p *Proof) { p.Stop.Gone = false }, say: "not seen"},
		"an end that is not known":  {kind: Stopped, change: func(_ *Need, p *Proof) { p.Stop.End.Offset = 0 }, say: "not known"},
		"a word that has expired":   {kind: Statement, change: func(_ *Need, p *Proof) { p.Signed[0].Expires = now }, say: "expired"},
		"a word for another epoch":  {kind: Statement, change: func(n *Need, p *Proof) { n.Epoch, p.Epoch = 8, 8 }, say: "changed"},
		"nobody's word counts":      {kind: Statement, change: func(n *Need, _ *Proof) { n.Statements = approval.Rule{} }, say: "nobody's word"},
		"another server as well":    {kind: Hook, change: func(n *Need, _ *Proof) { n.Instances = append(n.Instances, "orders/1@north") }, say: "north: nothing shows"},
	} {
		t.Run(name, func(t *testing.T) {
			n, ps := proofs(t)

			p := ps[c.kind]
			if c.change != nil {
				c.change(&n, &p)
				p = Sign(p, n.Key)
			}

			if c.after != nil {
				c.after(&p)
			}

			err := Check(n, []Proof{p}, now)
			if !fail.Is(err, fail.Denied) || !strings.Contains(err.Error(), c.say) {
				t.Fatalf("want denied with %q, got %v", c.say, err)
			}
		})
	}
}
