package redis

import (
	"context"

	"drctl/internal/observation"
	"drctl/targets"
	"drctl/targets/redis/observe"
)

var _ observation.Observable = (*Driver)(nil)

// Session implements observation.Observable.
func (d *Driver) Session(ctx context.Context, in targets.Instance) (observation.Session, error) {
	c, err := client(in, 0)
	if err != nil {
		return nil, err
	}

	s, err := observe.Open(ctx, c, in)
	if err != nil {
		_ = c.Close()
		return nil, err
	}

	return s, nil
}
