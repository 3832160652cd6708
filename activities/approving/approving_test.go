package approving

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"drctl/internal/approval"
)

var (
	at   = time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	what = approval.Subject{Action: "failover", Plan: strings.Repeat("a", 64), State: strings.Repeat("b", 64), Words: "failover of shop"}
)

func key(t *testing.T, seed byte) (ssh.Signer, string) {
	t.Helper()

	s, err := ssh.NewSignerFromSigner(ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), 32))))
	if err != nil {
		t.Fatal(err)
	}

	return s, string(ssh.MarshalAuthorizedKey(s.PublicKey()))
}

func signed(t *testing.T, by string, seed byte, change func(*approval.Approval)) approval.Approval {
	t.Helper()

	a := approval.Approval{Subject: what, By: by, At: at, Expires: at.Add(time.Hour)}
	if change != nil {
		change(&a)
	}
	k, _ := key(t, seed)

	a, err := approval.Sign(a, k)
	if err != nil {
		t.Fatal(err)
	}

	return a
}

// TestApprovals: signatures of different people count, and nothing else does.
func TestApprovals(t *testing.T) {
	_, ann := key(t, 1)
	_, ann2 := key(t, 2)
	_, bob := key(t, 3)
	people := []approval.Person{{Name: "ann", Keys: []string{ann, ann2}}, {Name: "bob", Keys: []string{bob}}}
	first := signed(t, "ann", 1, nil)

	judge := func(now time.Time, given *approval.Approval, kept ...approval.Approval) Out {
		return In{Subject: what, Kept: kept, Given: given, Now: now}.Judge(people, 2)
	}

	if out := judge(at, &first); out.Why != "" || out.Enough || len(out.Kept) != 1 {
		t.Fatalf("the first of two: %+v", out)
	}

	second := signed(t, "bob", 3, nil)
	if out := judge(at, &second, first); out.Why != "" || !out.Enough || len(out.Kept) != 2 {
		t.Fatalf("two people: %+v", out)
	}

	for name, c := range map[string]struct {
		given approval.Approval
		say   string
	}{
		"a key of nobody":                  {signed(t, "bob", 9, nil), "not this person's"},
		"one person with two keys":         {signed(t, "ann", 2, nil), "already"},
		"the same one again":               {first, "already"},
		"of a plan that has changed since": {signed(t, "bob", 3, func(a *approval.Approval) { a.Subject.Plan = strings.Repeat("c", 64) }), "changed since"},
		"of another run":                   {signed(t, "bob", 3, func(a *approval.Approval) { a.Subject.State = strings.Repeat("c", 64) }), "changed since"},
		"expired":                          {signed(t, "bob", 3, func(a *approval.Approval) { a.At, a.Expires = at.Add(-2*time.Hour), at.Add(-time.Hour) }), "expired"},
		"a stranger":                       {signed(t, "eve", 9, nil), "may not"},
	} {
		if out := judge(at, &c.given, first); !strings.Contains(out.Why, c.say) || out.Enough || len(out.Kept) != 1 {
			t.Errorf("%s: %+v", name, out)
		}
	}

	if out := judge(at, nil, first); !strings.Contains(out.Why, "not signed") {
		t.Errorf("without a signature: %+v", out)
	}

	// The first one expires before the second comes: it is wanted again.
	late := signed(t, "bob", 3, func(a *approval.Approval) { a.Expires = at.Add(3 * time.Hour) })
	if out := judge(at.Add(2*time.Hour), &late, first); out.Enough || len(out.Kept) != 1 || out.Kept[0].By != "bob" {
		t.Errorf("one that has expired meanwhile: %+v", out)
	}

	if out := (In{Subject: what, Now: at}).Judge(nil, 2); out.Signed {
		t.Errorf("nobody is named: %+v", out)
	}
}
