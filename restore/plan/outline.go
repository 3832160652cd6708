package plan

import (
	"time"

	"drctl/targets"
)

// Ref names a run that a vault holds. It is what crosses the engine instead of
// the run, whose size grows with the number of shards.
type Ref struct {
	ID     string `json:"id"`
	SHA256 string `json:"sha256"`
	// Vaults are the regions whose vaults hold it.
	Vaults []string `json:"vaults"`
}

// Node is what an interpreter needs to know of a step to call it in order.
type Node struct {
	ID    string          `json:"id"`
	Op    Op              `json:"op"`
	Shard targets.ShardID `json:"shard,omitzero"`
	// Region is where it runs when that is not the region whose vault is read.
	Region string `json:"region,omitempty"`
	// Host is the one of that region where it has to run; "" is any.
	Host  string   `json:"host,omitempty"`
	Needs []string `json:"needs,omitempty"` // see StepDef.Needs
	// After are the steps that must have ended, however they did.
	After []string      `json:"after,omitempty"`
	Limit time.Duration `json:"limit_ns"`

	// What follows is of the plans between regions; see StepDef.

	Behaviour Behaviour   `json:"behaviour,omitempty"`
	Retry     Retry       `json:"retry,omitzero"`
	IfFails   Consequence `json:"if_fails,omitempty"`
	Undo      bool        `json:"undo,omitempty"`
	NoReturn  bool        `json:"no_return,omitempty"`
	Section   string      `json:"section,omitempty"`
	// People is how many different ones have to approve.
	People int `json:"people,omitempty"`
	// Vouch says that a person's signed word can stand for the step.
	Vouch bool `json:"vouch,omitempty"`
}

// Outline is the order of a run: small enough to cross the engine whole.
type Outline struct {
	Steps []Node `json:"steps"`
	// Window is how many steps run at once; 0 means 4.
	Window int `json:"window,omitempty"`
	// Bytes are what the whole run reads, before compression, and Uncounted the
	// shards whose size it does not know.
	Bytes     int64             `json:"bytes"`
	Uncounted []targets.ShardID `json:"uncounted,omitempty"`
}

// Outline returns the order of the run.
func (p Run) Outline() Outline {
	out := Outline{Bytes: p.Bytes(), Steps: make([]Node, 0, len(p.Steps))}

	for _, s := range p.Steps {
		out.Steps = append(out.Steps, Node{ID: s.ID, Op: s.Op, Shard: s.Shard, Region: s.Into.Region, Host: s.Into.Host, Needs: s.Needs, Limit: s.Limit})

		if s.Op == OpRestore && s.Kind.Traits().Manifest && s.Objects == 0 {
			out.Uncounted = append(out.Uncounted, s.Shard)
		}
	}

	return out
}

// Step returns the step of an id.
func (p Run) Step(id string) (Step, bool) {
	for _, s := range p.Steps {
		if s.ID == id {
			return s, true
		}
	}

	return Step{}, false
}

// Carried is a run on its way through the engine: its name in the vaults, or the
// whole of it where no vault could take it.
type Carried struct {
	Ref   Ref  `json:"ref,omitzero"`
	Whole *Run `json:"whole,omitempty"`
}

// IsZero reports whether there is no run.
func (c Carried) IsZero() bool { return c.Whole == nil && c.Ref.SHA256 == "" }

// ID is the run's id.
func (c Carried) ID() string {
	if c.Whole != nil {
		return c.Whole.ID
	}

	return c.Ref.ID
}

// Step narrows a run that is carried whole to this one step, so that a call for
// one step does not carry all the others.
func (c Carried) Step(id string) Carried {
	if c.Whole == nil {
		return c
	}

	one := *c.Whole

	one.Steps = nil
	if s, ok := c.Whole.Step(id); ok {
		one.Steps = []Step{s}
	}
	one.Cut, one.Warnings = targets.Cut{}, nil

	return Carried{Whole: &one}
}
