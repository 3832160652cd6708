package configured

import (
	"context"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"drctl/internal/engine"
	"drctl/restore/served"
)

// Lacks are the hosts that the configuration names, in a region ("" is all), and that no
// worker serves.
func (p *Platform) Lacks(ctx context.Context, c client.Client, region string) (out []served.Lack, err error) {
	seen := map[string]bool{}

	for _, group := range p.Config.GroupNames() {
		var hosts []served.Queue

		for _, q := range p.Served(group) {
			if q.Host == "" || seen[q.Queue] || region != "" && q.Region != region {
				continue
			}
			seen[q.Queue] = true

			if q.Polled, err = engine.Polled(ctx, c, q.Queue, enums.TASK_QUEUE_TYPE_ACTIVITY); err != nil {
				return out, err
			}
			hosts = append(hosts, q)
		}

		out = append(out, served.Lacks(hosts, func(string) bool { return true })...)
	}

	return out, nil
}
