package approval

import (
	"crypto/ed25519"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"drctl/internal/fail"
)

var (
	now     = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	subject = Subject{Action: "failover", Plan: strings.Repeat("a", 64), State: strings.Repeat("b", 64), Words: "Fail the shop over to west."}
)

func signer(t *testing.T, seed byte) (ssh.Signer, string) {
	t.Helper()

	s, err := ssh.NewSignerFromSigner(ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), 32))))
	if err != nil {
		t.Fatal(err)
	}

	return s, string(ssh.MarshalAuthorizedKey(s.PublicKey()))
}

func approve(t *testing.T, by string, seed byte, change func(*Approval)) Approval {
	t.Helper()
	key, _ := signer(t, seed)

	a := Approval{Subject: subject, By: by, At: now.Add(-time.Minute), Expires: now.Add(time.Hour)}
	if change != nil {
		change(&a)
	}

	a, err := Sign(a, key)
	if err != nil {
		t.Fatal(err)
	}

	return a
}

func TestApprovals(t *testing.T) {
	_, ann := signer(t, 1)
	_, ann2 := signer(t, 2)
	_, bob := signer(t, 3)
	rule := Rule{Need: 2, Of: []Person{{"ann", []string{ann, ann2}}, {"bob", []string{bob}}}}

	good := []Approval{approve(t, "ann", 1, nil), approve(t, "bob", 3, nil)}
	if err := Check(rule, subject, good, now); err != nil {
		t.Fatalf("two people: %v", err)
	}

	second := func(a Approval) []Approval { return []Approval{good[0], a} }
	for name, c := range map[string]struct {
		given []Approval
		rule  Rule
		at    time.Time
		say   string
	}{
		"one person only":          {good[:1], rule, now, "1 of 2"},
		"one person with two keys": {second(approve(t, "ann", 2, nil)), rule, now, "1 of 2"},
		"the same one twice":       {second(good[0]), rule, now, "1 of 2"},
		"a key of two people":      {second(approve(t, "bob", 1, nil)), Rule{2, []Person{{"ann", []string{ann}}, {"bob", []string{bob, ann}}}, nil}, now, "somebody else"},
		"a stranger":               {second(approve(t, "eve", 3, nil)), rule, now, "may not approve"},
		"a stranger's key":         {second(approve(t, "bob", 9, nil)), rule, now, "not this person's"},
		"who has asked for it":     {good, Rule{2, rule.Of, []string{"bob"}}, now, "does not count here"},
		"expired":                  {good, rule, now.Add(2 * time.Hour), "expired"},
		"of the future":            {good, rule, now.Add(-time.Hour), "in the future"},
		"for too long":             {second(approve(t, "bob", 3, func(a *Approval) { a.Expires = now.Add(48 * time.Hour) })), rule, now, "longer"},
		"of another plan":          {second(approve(t, "bob", 3, func(a *Approval) { a.Subject.Plan = strings.Repeat("c", 64) })), rule, now, "changed"},
		"of another state":         {second(approve(t, "bob", 3, func(a *Approval) { a.Subject.State = strings.Repeat("c", 64) })), rule, now, "changed"},
		"of other words":           {second(approve(t, "bob", 3, func(a *Approval) { a.Subject.Words = "Just a drill." })), rule, now, "changed"},
		"prolonged afterwards":     {second(func() Approval { a := good[1]; a.Expires = a.Expires.Add(time.Hour); return a }()), rule, now, "not of this text"},
		"given to another":         {second(func() Approval { a := good[0]; a.By = "bob"; return a }()), rule, now, "not this person's"},
		"without a signature":      {second(func() Approval { a := good[1]; a.Signature = ""; return a }()), rule, now, "not one of SSH"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(c.rule, subject, c.given, c.at)
			if !fail.Is(err, fail.Denied) || !strings.Contains(err.Error(), c.say) {
				t.Fatalf("want denied with %q, got %v", c.say, err)
			}
		})
	}

	if err := Check(Rule{Of: rule.Of}, subject, nil, now); !fail.Is(err, fail.Invalid) {
		t.Fatalf("a rule that needs nobody: %v", err)
	}
}

// What OpenSSH's own program signs is accepted, and for drctl only.
func TestSignedBySSHKeygen(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Fatal("ssh-keygen is needed: install openssh-client")
	}
	dir := t.TempDir()
	key, file := filepath.Join(dir, "key"), filepath.Join(dir, "approval")

	run := func(args ...string) {
		if out, err := exec.Command(keygen, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	run("-q", "-t", "ed25519", "-N", "", "-f", key)

	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	rule := Rule{Need: 1, Of: []Person{{"ann", []string{string(public)}}}}

	for space, want := range map[string]bool{namespace: true, "git": false} {
		a := Approval{Subject: subject, By: "ann", At: now, Expires: now.Add(time.Hour)}
		if err := os.WriteFile(file, a.Message(), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(file + ".sig")
		run("-q", "-Y", "sign", "-f", key, "-n", space, file)

		sig, err := os.ReadFile(file + ".sig")
		if err != nil {
			t.Fatal(err)
		}
		a.Signature = string(sig)

		if err := Check(rule, subject, []Approval{a}, now); (err == nil) != want {
			t.Fatalf("signed for %s: %v", space, err)
		}
	}
}
