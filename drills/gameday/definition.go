package gameday

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"drctl/internal/approval"
	"drctl/internal/human"
	"drctl/internal/report/evidence"
	"drctl/targets"
)

// Definition is a game day as configured. It is plain data: its hash is what people approve.
type Definition struct {
	Name     string `json:"name"`
	Platform string `json:"platform"`
	Group    string `json:"group"`
	// Run is the mode of the recovery that is run; None runs none. From and To are "" where
	// the topology decides.
	Run  string `json:"run"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Fence is the program that silences a server of the region that is left; nil is the
	// group's own.
	Fence  []string `json:"fence,omitempty"`
	Faults []Fault  `json:"faults,omitempty"`
	Expect []Check  `json:"expect,omitempty"`
	Stop   []Check  `json:"stop,omitempty"`
	Red    *Check   `json:"red,omitempty"`
	Tell   []string `json:"tell,omitempty"`
	// Limit is the longest time of the drill.
	Limit time.Duration `json:"limit_ns"`
	// Permit names the platform whose servers may be broken although they are no lab's.
	Permit string        `json:"production,omitempty"`
	Every  time.Duration `json:"every_ns,omitempty"`
	// Vault is the region whose worker leads the drill.
	Vault        string              `json:"vault"`
	Objectives   evidence.Objectives `json:"objectives"`
	Scenario     string              `json:"scenario,omitempty"`
	Hypothesis   string              `json:"hypothesis,omitempty"`
	Participants []string            `json:"participants,omitempty"`
	Owner        string              `json:"owner,omitempty"`
	Due          time.Duration       `json:"due_ns,omitempty"`
}

// None is the Run of a drill that runs no recovery.
const None = "none"

// Runs reports whether a recovery is run.
func (d Definition) Runs() bool { return d.Run != "" && d.Run != None }

// Hash is the SHA-256 of the definition, in hex.
func (d Definition) Hash() string {
	b, _ := json.Marshal(d) // plain data always marshals
	h := sha256.Sum256(b)

	return hex.EncodeToString(h[:])
}

// Subject is what two people approve before the drill may touch production: the plan by its
// hash ("" where none is run), and the drill by its own.
func (d Definition) Subject(plan string) approval.Subject {
	what := "no recovery is run"
	if d.Runs() {
		what = "runs a " + d.Run
	}

	faults := make([]string, len(d.Faults))
	for i, f := range d.Faults {
		faults[i] = f.Words()
	}

	return approval.Subject{Action: "game day", Plan: plan, State: d.Hash(),
		Words: human.Clean(fmt.Sprintf("The game day %s may break servers of %s in production: %s; planted: %s.", d.Name, d.Platform, what, strings.Join(faults, "; ")))}
}

// Fault returns the one of a name.
func (d Definition) Fault(id string) (Fault, bool) {
	for _, f := range d.Faults {
		if f.ID == id {
			return f, true
		}
	}

	return Fault{}, false
}

// What a fault does.
const (
	Kill  = "kill"  // the server dies
	Stop  = "stop"  // all its processes are frozen
	Mute  = "mute"  // a standby hears nothing more
	Stall = "stall" // a standby replays nothing more
	Exec  = "exec"  // a program of the platform's own
)

// When a fault is planted.
const (
	Before = "before"
	After  = "after"
	AtStep = "step"
)

// Fault is something that is planted on one server, or by a program.
type Fault struct {
	// ID names it within its drill.
	ID string `json:"id"`
	At string `json:"at"`
	// Step is the pattern of AtStep.
	Step string `json:"step,omitempty"`
	Do   string `json:"do"`
	// Shard is zero where a program runs for a region.
	Shard  targets.ShardID `json:"shard,omitzero"`
	Region string          `json:"region"`
	// Queue is where the worker of its host takes work.
	Queue string `json:"queue"`
	// Dir is the data directory of the server, and Start the program that starts it.
	Dir   string   `json:"dir,omitempty"`
	Start []string `json:"start,omitempty"`
	// For is its longest time; 0 is to the end of the drill.
	For  time.Duration `json:"for_ns,omitempty"`
	Exec []string      `json:"exec,omitempty"`
	Undo []string      `json:"undo,omitempty"`
}

// On names what it is planted on.
func (f Fault) On() string {
	if f.Shard == (targets.ShardID{}) {
		return "region:" + f.Region
	}

	return f.Shard.String() + "@" + f.Region
}

// Words say what it does, for people.
func (f Fault) Words() string {
	s := map[string]string{Kill: "kills " + f.On(), Stop: "freezes " + f.On(), Mute: f.On() + " hears nothing", Stall: f.On() + " replays nothing",
		Exec: f.On() + ": runs " + strings.Join(f.Exec, " ")}[f.Do]

	switch f.At {
	case AtStep:
		s += " at step " + f.Step
	case After:
		s += " after the recovery"
	}

	if f.For > 0 {
		s += " for " + human.Duration(f.For)
	}

	return s
}

// Matches reports whether a step is meant by a pattern, in which * stands for anything.
func Matches(pattern, step string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == step
	}

	rest, ok := strings.CutPrefix(step, parts[0])
	if !ok {
		return false
	}

	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, p)
		if i < 0 {
			return false
		}
		rest = rest[i+len(p):]
	}

	return strings.HasSuffix(rest, parts[len(parts)-1])
}

// ApprovalKind is the kind of the records of a drill's approvals in the vaults.
func ApprovalKind(drill string) string { return "drill-approval-" + drill }
