package silence

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"drctl/internal/approval"
	"drctl/internal/fail"
	"drctl/targets"
)

// Kind is what a proof rests on.
type Kind string

// The kinds of proofs, best first.
const (
	// Stopped: the server was stopped in order, and where its log ends is known.
	Stopped Kind = "stopped"
	// Hook: a fencing hook (power, network, exec) has succeeded.
	Hook Kind = "hook"
	// Guard: the guard beside the server has lost its lease, which was waited for.
	Guard Kind = "guard"
	// Statement: a person says so.
	Statement Kind = "statement"
)

// Proof shows that one server takes no more writes from Since on.
type Proof struct {
	Kind     Kind            `json:"kind"`
	Group    string          `json:"group"`
	Shard    targets.ShardID `json:"shard"`
	Instance string          `json:"instance"`
	// Epoch is the one that the proof was made for: the claimer's.
	Epoch uint64 `json:"epoch"`
	// Since is by the clock of who made the proof.
	Since time.Time `json:"since"`
	// By is the process or the person.
	By string `json:"by"`

	// One of these, as Kind says.
	Stop   *StopEvidence  `json:"stop,omitempty"`
	Hook   *HookEvidence  `json:"hook,omitempty"`
	Guard  *GuardEvidence `json:"guard,omitempty"`
	Signed []Signed       `json:"signed,omitempty"`

	// Signature is that of the process that made it; a statement's are its own.
	Signature string `json:"signature,omitempty"`
}

// StopEvidence is of a server that was stopped in order.
type StopEvidence struct {
	// End is where its log ends.
	End targets.Position `json:"end"`
	// Gone is true when the process was seen to be gone.
	Gone bool `json:"gone"`
}

// HookEvidence is of a fencing hook that ran.
type HookEvidence struct {
	Name string `json:"name"`
	Exit int    `json:"exit"`
	// Output is the SHA-256 of what it printed.
	Output string `json:"output"`
}

// GuardEvidence is of a lease that was waited for.
type GuardEvidence struct {
	Guard string `json:"guard"`
	// Holder is the region that the guard is of, To the one that the epoch is claimed for.
	Holder string `json:"holder"`
	To     string `json:"to"`
	// Instances are those that the guard has answered for.
	Instances []string `json:"instances"`
	// Lease is the longest that could run, and Waited how long the claimer has waited
	// since it first knew the last record in front of its claim, both in nanoseconds.
	Lease  time.Duration `json:"lease_ns"`
	Waited time.Duration `json:"waited_ns"`
}

// Signed is a person's approval of a statement.
type Signed = approval.Approval

// Key authenticates the proofs that processes make.
type Key []byte

func (p Proof) sum(k Key) string {
	p.Signature = ""
	p.Since = p.Since.UTC()
	b, _ := json.Marshal(p) // nothing in it can fail
	m := hmac.New(sha256.New, k)
	m.Write([]byte("drctl silence v1\x00"))
	m.Write(b)

	return hex.EncodeToString(m.Sum(nil))
}

// Sign authenticates a proof that this process has made.
func Sign(p Proof, k Key) Proof {
	p.Signature = p.sum(k)
	return p
}

// Words are what a person signs to state that a server is silent.
func (p Proof) Words() approval.Subject {
	text := fmt.Sprintf("I have made sure that %s takes no writes and cannot come back to take any, for epoch %d of group %s.", p.Instance, p.Epoch, p.Group)
	sum := sha256.Sum256([]byte(text + "\x00" + p.Shard.String()))

	return approval.Subject{Action: "statement", State: hex.EncodeToString(sum[:]), Words: text}
}

// Need is what must be shown before a shard is promoted.
type Need struct {
	Group string
	Shard targets.ShardID
	// Epoch is the one that is claimed, and To the region that it is for.
	Epoch uint64
	To    string
	// Instances are all other servers of the shard that have been able to write.
	Instances []string
	// Statements says whose word counts; the zero rule is nobody's.
	Statements approval.Rule
	Key        Key
}

// Check reports whether every server has a proof. The error is fail.Denied and
// says which has none, and why those that were given do not count.
func Check(n Need, proofs []Proof, now time.Time) error {
	if n.Epoch == 0 || n.To == "" || n.Group == "" || len(n.Key) == 0 {
		return fail.New(fail.Internal, "silence: check", n.Shard.String(), "", errors.New("it is not said what is to be shown"))
	}

	var missing []error
	for _, in := range n.Instances {
		why := []error{fmt.Errorf("%s: nothing shows that it takes no writes", in)}
		for _, p := range proofs {
			if p.Instance != in {
				continue
			}

			err := p.check(n, now)
			if err == nil {
				why = nil
				break
			}
			why = append(why, fmt.Errorf("%s: the proof by %s: %w", in, p.Kind, err))
		}
		missing = append(missing, why...)
	}

	if err := errors.Join(missing...); err != nil {
		return fail.New(fail.Denied, "silence: check", n.Shard.String(),
			"fence it, wait for its guard's lease, or make sure yourself and sign that", err)
	}

	return nil
}

func (p Proof) check(n Need, now time.Time) error {
	switch {
	case p.Group != n.Group || p.Shard != n.Shard:
		return fmt.Errorf("it is of %s of group %s", p.Shard, p.Group)
	case p.Epoch != n.Epoch:
		return fmt.Errorf("it was made for epoch %d, not for %d", p.Epoch, n.Epoch)
	case p.Kind != Statement && !hmac.Equal([]byte(p.Signature), []byte(p.sum(n.Key))):
		return errors.New("it was changed, or not made by who holds the vault's key")
	}

	switch {
	case p.Kind == Stopped && p.Stop != nil:
		return p.Stop.check()
	case p.Kind == Hook && p.Hook != nil:
		return p.Hook.check()
	case p.Kind == Guard && p.Guard != nil:
		return p.Guard.check(n, p.Instance)
	case p.Kind == Statement && n.Statements.Need > 0:
		return approval.Check(n.Statements, p.Words(), p.Signed, now)
	case p.Kind == Statement:
		return errors.New("nobody's word counts here")
	}

	return errors.New("there is nothing behind it")
}

func (e StopEvidence) check() error {
	if !e.Gone || e.End.Timeline == "" || e.End.Offset == 0 {
		return errors.New("the server was not seen to be gone, or where its log ends is not known")
	}

	return nil
}

func (e HookEvidence) check() error {
	if e.Name == "" || e.Exit != 0 || !targets.IsSHA256(e.Output) {
		return fmt.Errorf("the hook %q has ended with %d", e.Name, e.Exit)
	}

	return nil
}

func (e GuardEvidence) check(n Need, instance string) error {
	switch {
	case e.Guard == "" || !slices.Contains(e.Instances, instance):
		return fmt.Errorf("guard %q does not answer for this server", e.Guard)
	case e.Holder == e.To || e.To != n.To:
		return fmt.Errorf("a lease of %s is not over because %s has claimed", e.Holder, e.To)
	case e.Lease <= 0 || e.Waited < e.Lease+e.Lease/10:
		return fmt.Errorf("a lease of %s was waited for %s", e.Lease, e.Waited)
	}

	return nil
}
