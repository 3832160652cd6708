package engine

import (
	"context"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"drctl/internal/fail"
)

// ActivityRun is an activity of a workflow as its history has it.
type ActivityRun struct {
	Name     string
	Attempts int    // 0: no worker took it
	Worker   string // the identity of the worker of the last attempt; "" when none took it
	decode   func(any) error
	result   func(any) error // nil: it has none
}

// Result decodes what the activity returned. It fails when that has not ended
// well.
func (a ActivityRun) Result(into any) error {
	if a.result == nil {
		return fail.Newf(fail.NotFound, "engine: history", a.Name, "the activity returned nothing")
	}

	return a.result(into)
}

// Input decodes the activity's argument.
func (a ActivityRun) Input(into any) error { return a.decode(into) }

// ActivityRuns lists the activities that a workflow run has ended so far, in the
// order in which it scheduled them. What failed is among them: a history has the
// attempts and the worker where an error has neither.
func ActivityRuns(ctx context.Context, c client.Client, workflow, run string) ([]ActivityRun, error) {
	var out []ActivityRun

	at := map[int64]int{} // scheduled event: index in out
	for it := c.GetWorkflowHistory(ctx, workflow, run, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		if err != nil {
			return nil, DecodeError(err)
		}

		if s := e.GetActivityTaskScheduledEventAttributes(); s != nil {
			at[e.GetEventId()] = len(out)
			out = append(out, ActivityRun{Name: s.GetActivityType().GetName(), decode: func(into any) error {
				return converter.GetDefaultDataConverter().FromPayloads(s.GetInput(), into)
			}})
		}

		if s := e.GetActivityTaskStartedEventAttributes(); s != nil {
			if i, ok := at[s.GetScheduledEventId()]; ok {
				out[i].Attempts, out[i].Worker = int(s.GetAttempt()), s.GetIdentity()
			}
		}

		if s := e.GetActivityTaskCompletedEventAttributes(); s != nil {
			if i, ok := at[s.GetScheduledEventId()]; ok {
				out[i].result = func(into any) error { return converter.GetDefaultDataConverter().FromPayloads(s.GetResult(), into) }
			}
		}
	}

	return out, nil
}
