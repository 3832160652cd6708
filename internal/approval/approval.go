package approval

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"drctl/internal/fail"
	"drctl/targets"
)

const op = "approval"

// maxLife is how long an approval can be good for, and maxAhead how far its time may
// lie ahead of the clock of who checks it.
const (
	maxLife  = 24 * time.Hour
	maxAhead = 5 * time.Minute
)

// Subject is what is approved. Everything that the person was shown is in it.
type Subject struct {
	// Action is what may be done, such as "failover" or "statement".
	Action string `json:"action"`
	// Plan and State are SHA-256 (hexadecimal) of the plan and of the state that it
	// was bound to; of a statement, State is that of what it says.
	Plan  string `json:"plan,omitempty"`
	State string `json:"state"`
	// Words are what the person reads before signing.
	Words string `json:"words"`
}

func (s Subject) check() error {
	if s.Action == "" || s.Words == "" || !targets.IsSHA256(s.State) || s.Plan != "" && !targets.IsSHA256(s.Plan) {
		return fail.New(fail.Invalid, op, s.Action, "name the action, the state's SHA-256 and the words", nil)
	}

	return nil
}

// Approval is one person's signature.
type Approval struct {
	Subject Subject `json:"subject"`
	// By is the person's name among those who may approve.
	By string `json:"by"`
	// At and Expires are by the signer's clock.
	At      time.Time `json:"at"`
	Expires time.Time `json:"expires"`
	// Signature is an SSH signature of Message, as ssh-keygen -Y sign -n drctl writes it.
	Signature string `json:"signature"`
}

// Message is what is signed.
func (a Approval) Message() []byte {
	a.Signature = ""
	a.At, a.Expires = a.At.UTC(), a.Expires.UTC()
	b, _ := json.MarshalIndent(a, "", "  ") // nothing in it can fail

	return append(b, '\n')
}

// Sign makes the approval of who holds the key.
func Sign(a Approval, key ssh.Signer) (Approval, error) {
	if err := a.Subject.check(); err != nil {
		return a, err
	}
	s, err := sign(key, a.Message())
	a.Signature = s

	return a, err
}

// Person is somebody who may approve.
type Person struct {
	Name string
	// Keys are lines as in authorized_keys.
	Keys []string
}

// Rule says whose approvals are needed.
type Rule struct {
	// Need is how many different people.
	Need int
	// Of are those who may.
	Of []Person
	// Not are people whose approval does not count here, such as who asks for it.
	Not []string
}

// Check reports whether the approvals are enough for the subject now. The error
// is fail.Denied and says of each one why it does not count.
func Check(r Rule, s Subject, approvals []Approval, now time.Time) error {
	if err := s.check(); err != nil {
		return err
	}

	if r.Need < 1 || r.Need > len(r.Of) {
		return fail.New(fail.Invalid, op, s.Action, "name as many people as approvals are needed, at least one", fmt.Errorf("%d of %d people", r.Need, len(r.Of)))
	}

	by, odd := counted(r, s, approvals, now)
	if len(by) >= r.Need {
		return nil
	}

	return fail.New(fail.Denied, op, s.Action, "ask another person to look at the plan and to sign",
		errors.Join(append([]error{fmt.Errorf("%d of %d approvals", len(by), r.Need)}, odd...)...))
}

// Counted names the people whose approvals of a subject count now, each once.
func Counted(r Rule, s Subject, approvals []Approval, now time.Time) []string {
	by, _ := counted(r, s, approvals, now)
	return by
}

// counted says of the others why they do not.
func counted(r Rule, s Subject, approvals []Approval, now time.Time) (by []string, odd []error) {
	var used [][]byte

	for _, a := range approvals {
		key, err := a.check(r, s, now)
		switch {
		case err != nil:
			odd = append(odd, fmt.Errorf("the one by %.80q: %w", a.By, err))
		case slices.Contains(by, a.By):
		case slices.ContainsFunc(used, func(k []byte) bool { return slices.Equal(k, key) }):
			odd = append(odd, fmt.Errorf("the one by %.80q: its key has signed for somebody else too", a.By))
		default:
			by, used = append(by, a.By), append(used, key)
		}
	}

	return by, odd
}

// check returns the key that has signed the approval.
func (a Approval) check(r Rule, s Subject, now time.Time) ([]byte, error) {
	i := slices.IndexFunc(r.Of, func(p Person) bool { return p.Name == a.By && a.By != "" })

	switch {
	case i < 0:
		return nil, errors.New("this person may not approve")
	case slices.Contains(r.Not, a.By):
		return nil, errors.New("this person's approval does not count here")
	case a.Subject != s:
		return nil, errors.New("it is of another plan, state or text: something was changed since")
	case a.At.After(now.Add(maxAhead)):
		return nil, errors.New("it was signed in the future")
	case !a.Expires.After(now):
		return nil, errors.New("it has expired")
	case a.Expires.Sub(a.At) > maxLife:
		return nil, fmt.Errorf("it is to hold for longer than %s", maxLife)
	}

	return verify(a.Signature, a.Message(), r.Of[i].Keys)
}
