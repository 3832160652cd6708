package main

import (
	"context"
	"path/filepath"

	"go.temporal.io/sdk/client"

	"drctl/cmd/drctl/boxes"
	"drctl/cmd/drctl/regional"
	"drctl/cmd/drctl/serve"
)

// regional are the commands of recoveries between regions.
func (a *app) regional() regional.Faces {
	return regional.Faces{Load: a.load, Out: a.out, Err: a.err, JSON: &a.json, Say: a.say, By: serve.Person,
		Start: func(ctx context.Context, c client.Client, id, name, queue string, arg any) (client.WorkflowRun, error) {
			return start(ctx, c, id, name, queue, false, arg)
		},
		Online: func(ctx context.Context) (regional.Engine, error) {
			s, err := a.online(ctx)
			if err != nil {
				return regional.Engine{}, err
			}

			return regional.Engine{Client: s.engine, Platform: s.p, IDs: s.ids(), Close: s.close}, nil
		},
		Embedded: func(ctx context.Context, bin string) (regional.Engine, error) {
			s, err := a.offline()
			if err != nil {
				return regional.Engine{}, err
			}

			queues := map[string]string{}
			for _, r := range s.cfg.RegionNames() {
				queues[r] = s.cfg.Regions[r].Queue
			}

			state := boxes.Usable(s.cfg.StateDir, filepath.Join(s.cfg.Sandbox.Dir, ".state"))
			own, stop, err := a.breakGlass(ctx, bin, s.cfg.Sandbox.Dir, int64(s.cfg.Sandbox.MaxBytes), state, s.p, queues, s.p.Programs, s.log)

			if err != nil {
				return regional.Engine{}, err
			}

			return regional.Engine{Client: own.engine, Platform: s.p, IDs: s.ids(), Close: stop}, nil
		}}
}
