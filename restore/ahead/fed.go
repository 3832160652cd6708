package ahead

import (
	"context"
	"encoding/json"

	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

// Fed is what a standby was given: the vault's log up to To, of which the last whole record ends at At.
type Fed struct {
	To targets.Position `json:"to"`
	At targets.Position `json:"at"`
}

// HadFed reads it; nothing is nothing that was fed.
func HadFed(out json.RawMessage) (f Fed, err error) {
	if len(out) > 0 {
		err = json.Unmarshal(out, &f)
	}

	return f, err
}

// All reports whether a vault whose log ends at a place has no more than was fed to a standby that stands at another. The log may
// end in half a record, or in the empty rest of a page: no standby ever stands there.
func (f Fed) All(end, standby targets.Position) bool {
	return f.To.Timeline != "" && f.To == end && f.At.Timeline == standby.Timeline && standby.Offset >= f.At.Offset
}

// FeedOf is the step that feeds a shard's standby; the zero step where there is none.
func FeedOf(d plan.Definition, id targets.ShardID) plan.StepDef {
	for _, s := range d.Steps {
		if s.Do == plan.OpFeed && s.On == id {
			return s
		}
	}

	return plan.StepDef{}
}

// Place is where a standby stands.
func Place(ctx context.Context, driver targets.Driver, in targets.Instance) (targets.Position, error) {
	if p, ok := driver.(handover.Asking); ok {
		return p.Asker().Place(ctx, in)
	}

	st, err := driver.Reach(ctx, in)

	return st.Position, err
}

// Heard asks a standby how far its primary had come; nil when it does not say.
func Heard(ctx context.Context, driver targets.Driver, standby targets.Instance) *handover.Heard {
	p, ok := driver.(handover.Asking)
	if !ok {
		return nil
	}

	h, err := p.Asker().Heard(ctx, standby)
	if err != nil {
		return nil
	}

	return &h
}
