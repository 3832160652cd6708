package unserved

import (
	"errors"
	"fmt"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
)

// Said is err, or where no worker took the activity in time what that means: unavailable.
// Region is the name of the queue's region; "" is not known.
func Said(err error, region, queue string) error {
	var act *temporal.ActivityError

	var late *temporal.TimeoutError
	if !errors.As(err, &act) || !errors.As(err, &late) || late.TimeoutType() != enums.TIMEOUT_TYPE_SCHEDULE_TO_START {
		return err
	}

	_, host, role := platform.QueueOf(queue)
	where := "the queue " + queue

	if host != "" {
		where = fmt.Sprintf("host %s (queue %s)", host, queue)
	}

	return engine.EncodeError(fail.New(fail.Unavailable, "workflow: wait for a worker", where, "start, or look why it takes no work: "+platform.ServeWith(region, host, role),
		fmt.Errorf("no worker took %s in time", act.ActivityType().GetName())))
}

// RegionOf is the region of a queue, by the queues of the regions; "" is none of them.
func RegionOf(queues map[string]string, queue string) string {
	base, _, _ := platform.QueueOf(queue)

	for _, region := range workflow.DeterministicKeys(queues) {
		if queues[region] == base {
			return region
		}
	}

	return ""
}
