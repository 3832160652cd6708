package redis

import (
	"context"

	goredis "github.com/redis/go-redis/v9"

	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/redis/replace"
	"drctl/targets/redis/switchover"
)

var _ handover.Switcher = (*Driver)(nil)

func switcher() *switchover.Switcher {
	return switchover.New(switchover.Options{Explain: wrap, Client: func(in targets.Instance) (*goredis.Client, error) { return client(in, 0) }})
}

// Switch implements handover.Switcher.
func (d *Driver) Switch(req handover.Request) (handover.Switch, error) { return switcher().Switch(req) }

// Rejoin implements handover.Switcher.
func (d *Driver) Rejoin(ctx context.Context, req handover.RejoinRequest) (handover.Rejoined, error) {
	return switcher().Rejoin(ctx, req)
}

// Replacer implements handover.Replacing.
func (d *Driver) Replacer() handover.Replacer {
	return replace.Replacer{Explain: wrap, Client: func(in targets.Instance) (*goredis.Client, error) { return client(in, 0) }}
}
