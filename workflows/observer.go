package workflows

import (
	"errors"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"drctl/activities/observing"
	"drctl/internal/platform"
)

// ObserveIn names the group to observe, and the queue of its home region.
type ObserveIn struct {
	Group string `json:"group"`
	Queue string `json:"queue"`
}

const (
	// ObserveAgain is how long an observer waits after an error that no retry can mend.
	ObserveAgain = 30 * time.Second
	// observerBeats is after how long without a beat a worker is taken for dead, and another one observes:
	// until then there are no cuts. A worker reports every five seconds, and gives a report up that takes
	// longer than five.
	observerBeats = 12 * time.Second
	// sameHostWithin is how long the host that observed last may take to go on. It
	// has the same observer for a minute longer: elsewhere it would be another one.
	sameHostWithin = 10 * time.Second
)

// Observe keeps one group observed for ever. Its activity is long-lived and ends by
// itself from time to time; whatever ends it, it is started again, on the same
// host if that is there.
func Observe(ctx workflow.Context, in ObserveIn) error {
	home := platform.Queue(in.Queue, "", platform.Archive)
	queue := home

	for range 100 {
		opt := workflow.ActivityOptions{
			TaskQueue: queue,
			// The activity returns after an hour; the limit only catches a stuck one.
			StartToCloseTimeout: 2 * time.Hour,
			HeartbeatTimeout:    observerBeats,
			WaitForCancellation: true,
			RetryPolicy: &temporal.RetryPolicy{InitialInterval: 500 * time.Millisecond, BackoffCoefficient: 1.5,
				MaximumInterval: 10 * time.Second},
		}

		if queue != home { // a retry there could wait for a host that is gone
			opt.ScheduleToStartTimeout, opt.RetryPolicy.MaximumAttempts = sameHostWithin, 1
		}

		var out observing.Out
		err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, opt), observing.Name, observing.In{Group: in.Group}).Get(ctx, &out)

		switch {
		case err == nil:
			queue = out.Queue
		case temporal.IsCanceledError(err):
			return err
		case queue != home:
			if !waitedInVain(err) {
				workflow.GetLogger(ctx).Warn("the host does not observe any more; another goes on", "err", err.Error())
			}
			queue = home
		default:
			// An error that no retry can mend is tried again slowly: observing must
			// come back by itself when a person has mended it.
			workflow.GetLogger(ctx).Error("observing stopped; trying again in 30 s", "err", err.Error())

			if err := workflow.Sleep(ctx, ObserveAgain); err != nil {
				return err
			}
		}
	}

	return workflow.NewContinueAsNewError(ctx, ObserveName, in)
}

// waitedInVain reports whether no worker took an activity in time.
func waitedInVain(err error) bool {
	var late *temporal.TimeoutError
	return errors.As(err, &late) && late.TimeoutType() == enums.TIMEOUT_TYPE_SCHEDULE_TO_START
}
