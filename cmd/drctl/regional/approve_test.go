package regional_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/restore/machine"
	"drctl/restore/runs"
	"drctl/workflows/recovery"
)

// keypair makes an SSH key, and returns its file and the public line.
func (p *place) keypair(name string) (file, public string) {
	p.Helper()
	file = filepath.Join(p.dir, name)

	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file).CombinedOutput(); err != nil {
		p.Fatalf("%v: %s", err, out)
	}

	b, err := os.ReadFile(file + ".pub")
	if err != nil {
		p.Fatal(err)
	}

	return file, strings.TrimSpace(string(b))
}

// begun starts a switchover and waits until it asks to be approved.
func (p *place) begun(to string) (ended chan recovery.Out) {
	p.Helper()

	ended = make(chan recovery.Out, 1)
	c := p.command("drctl", "switchover", "run", "--from", map[string]string{"west": "east", "east": "west"}[to], "--to", to, "--yes", "--json")

	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said

	if err := c.Start(); err != nil {
		p.Fatal(err)
	}

	go func() {
		_ = c.Wait()

		var o recovery.Out

		_ = json.Unmarshal(out.Bytes(), &o)
		ended <- o
	}()

	p.until("it asks for approvals", func() bool {
		out, _, _ := p.run("drctl", "recovery", "show", "--json")

		var o recovery.Out
		if json.Unmarshal([]byte(out), &o) != nil || o.To != to {
			return false
		}

		for _, s := range o.Steps {
			if s.Question == machine.AskApprove && s.Subject != nil {
				return true
			}
		}

		return false
	})

	return ended
}

func (p *place) reached(ended chan recovery.Out) {
	p.Helper()

	select {
	case o := <-ended:
		if o.Verdict != machine.Reached {
			p.Fatalf("%+v", o)
		}
	case <-time.After(limit):
		p.Fatal("it does not end")
	}
}

// TestTwoPeopleApprove moves a platform with the signatures of two people, and home again
// with a broken glass, which stays on the list until somebody has looked.
func TestTwoPeopleApprove(t *testing.T) {
	p := newPlace(t)
	ann, annKey := p.keypair("ann")
	ann2, annKey2 := p.keypair("ann2")
	bob, bobKey := p.keypair("bob")
	eve, _ := p.keypair("eve")

	p.configure(fmt.Sprintf(`
recovery:
  shop:
    approvals: 2
    stay: [media]
    approvers:
      ann: {keys: [%s, %s]}
      bob: {keys: [%s]}
`, annKey, annKey2, bobKey))
	p.serve()
	p.must("drctl", "backup", "now")
	p.refused(1, "not found", "recovery", "approve", "--yes")

	ended := p.begun("west")
	p.refused(1, "none of ann, bob", "recovery", "approve", "--yes", "--key", eve)
	p.refused(1, "not this person's", "recovery", "approve", "--yes", "--key", eve, "--as", "bob")
	p.refused(1, "not signed", "recovery", "answer", "approve", "yes")
	p.must("drctl", "recovery", "approve", "--yes", "--key", ann)
	p.refused(1, "already", "recovery", "approve", "--yes", "--key", ann2)

	if _, said, _ := p.run("drctl", "recovery", "approve", "--key", bob+".pub"); strings.Contains(said, "Signing") {
		p.Errorf("it is signed before the person was asked: %s", said)
	}

	p.must("drctl", "recovery", "approve", "--yes", "--key", bob+".pub") // by ssh-keygen
	p.reached(ended)
	p.must("drctl", "recovery", "reviews")

	ended = p.begun("east")
	p.must("drctl", "recovery", "approve", "--yes", "--break-glass", "nobody answers the phone")
	p.reached(ended)

	out, said, code := p.run("drctl", "recovery", "reviews", "--json")

	var all []runs.Glass
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != 4 || len(all) != 1 || all[0].Reason != "nobody answers the phone" {
		t.Fatalf("exit %d, %v: %s%s", code, err, out, said)
	}

	if text := p.must("drctl", "recovery", "show"); !strings.Contains(text, "THE GLASS WAS BROKEN") {
		t.Error(text)
	}

	p.refused(4, "went on without the approvals that are wanted", "status")
	p.must("drctl", "recovery", "review", all[0].ID, "--note", "it was right")
	p.must("drctl", "recovery", "reviews")
	p.refused(1, "has reviewed it", "recovery", "review", all[0].ID, "--note", "again")
}
