package observe

import (
	"context"
	"slices"
	"strings"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"drctl/internal/engine"
	"drctl/restore/served"
)

// askQueue asks who asks a queue for activities. Of a host's, the machines that do are
// told apart by what their workers say of themselves (pid@machine@...).
func askQueue(ctx context.Context, c client.Client, q *served.Queue) (err error) {
	q.Polled, err = engine.Polled(ctx, c, q.Queue, enums.TASK_QUEUE_TYPE_ACTIVITY)
	if err != nil || q.Host == "" {
		return err
	}

	d, err := c.DescribeTaskQueue(ctx, q.Queue, enums.TASK_QUEUE_TYPE_ACTIVITY)
	if err != nil {
		return err
	}

	for _, p := range d.GetPollers() {
		parts := strings.Split(p.GetIdentity(), "@")
		if len(parts) > 1 && engine.Served(p.GetLastAccessTime().AsTime()) && !slices.Contains(q.Machines, parts[1]) {
			q.Machines = append(q.Machines, parts[1])
		}
	}

	slices.Sort(q.Machines)

	return nil
}
