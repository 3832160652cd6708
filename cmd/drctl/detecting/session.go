package detecting

import (
	"context"

	"drctl/internal/detection/lookout"
	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/targets"
)

// observed asks a server as an observer does.
type observed struct {
	observation.Session
	by *observation.Observer
}

// Writable implements lookout.Session.
func (o observed) Writable(ctx context.Context) (bool, error) {
	_, err := o.Observe(ctx, o.by)
	if fail.Is(err, fail.Conflict) { // it is a standby now
		return false, nil
	}

	return err == nil, err
}

// asking makes what opens such sessions.
func asking(by *observation.Observer) func(context.Context, targets.Driver, targets.Instance) (lookout.Session, error) {
	return func(ctx context.Context, d targets.Driver, in targets.Instance) (lookout.Session, error) {
		o, ok := d.(observation.Observable)
		if !ok {
			return nil, fail.Newf(fail.Unsupported, op, in.String(), "stores of this kind have no session that could be kept")
		}

		s, err := o.Session(ctx, in)
		if err != nil {
			return nil, err
		}

		return observed{s, by}, nil
	}
}
