package steps

import (
	"encoding/json"

	"drctl/activities/section"
	"drctl/restore/plan"
)

// Routing are hands for routes alone, which were as it says before all else.
func Routing(d plan.Definition, epoch uint64, was json.RawMessage) (*Hands, error) {
	h := &Hands{To: d.To, Epoch: epoch, Defs: map[string]plan.StepDef{}}
	for _, s := range d.Steps {
		h.Defs[s.ID] = s
	}

	return h, json.Unmarshal(was, &h.Was)
}

// Known is what they know outside of a section: the routes.
func (h *Hands) Known() section.Known {
	b, err := json.Marshal(Seen{Routes: h.Was})
	if err != nil { // plain data always marshals
		return section.Known{Prepared: json.RawMessage("{}")}
	}

	return section.Known{Prepared: b}
}
