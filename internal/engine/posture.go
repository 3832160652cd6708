package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"drctl/internal/fail"
)

// Polled is when a worker last asked a task queue for workflows, or for activities; zero
// when none has within the minutes that the engine remembers.
func Polled(ctx context.Context, c client.Client, queue string, kind enums.TaskQueueType) (time.Time, error) {
	d, err := c.DescribeTaskQueue(ctx, queue, kind)
	if err != nil {
		return time.Time{}, fail.New(serviceCode(err), "engine: describe task queue", queue, "", err)
	}

	var last time.Time
	for _, p := range d.GetPollers() {
		if at := instant(p.GetLastAccessTime()); at.After(last) {
			last = at
		}
	}

	return last, nil
}

// Served reports whether a queue that was last polled at the instant has a
// worker: a living one asks at least once a minute.
func Served(polled time.Time) bool { return time.Since(polled) < pollerAge }

// State is a workflow's newest run as the engine has it.
type State struct {
	Run
	Running bool
	Pending []Pending // its own activities, not its children's
}

// StateOf describes the newest run of a workflow; not-found when there is none.
func StateOf(ctx context.Context, c client.Client, id string) (State, error) {
	d, err := c.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return State{}, fail.New(serviceCode(err), "engine: describe workflow", id, "", err)
	}
	info := d.GetWorkflowExecutionInfo()

	s := State{
		Run:     Run{ID: id, RunID: info.GetExecution().GetRunId(), Workflow: info.GetType().GetName(), Queue: info.GetTaskQueue(), Started: instant(info.GetStartTime())},
		Running: info.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING,
	}
	for _, a := range d.GetPendingActivities() {
		s.Pending = append(s.Pending, pending(id, a))
	}

	return s, nil
}

// Streak is what failed, one time after the other, since the last success.
type Streak struct {
	Failures int
	// Since is when the first of them failed and Last when the newest did.
	Since, Last time.Time
	// More says that the streak is older than what was looked at.
	More bool
	Err  error // of the newest; decoded
}

// Add counts one more failure, older than those before it.
func (s *Streak) Add(at time.Time, err error) {
	if s.Failures++; s.Failures == 1 {
		s.Last, s.Err = at, err
	}
	s.Since = at
}

// maxChain bounds how many earlier runs of a workflow that continues as new are
// looked at.
const maxChain = 12

// ActivityStreak looks at the activities of a name that a running workflow has
// ended, back to the last that succeeded, through the runs that it continued.
func ActivityStreak(ctx context.Context, c client.Client, workflow, run, activity string) (Streak, error) {
	var out Streak
	for n := 0; run != "" && n < maxChain; n++ {
		part, before, err := runStreak(ctx, c, workflow, run, activity)
		if err != nil {
			if n > 0 && serviceCode(err) == fail.NotFound {
				break // the engine has forgotten it
			}

			return out, fail.New(serviceCode(err), "engine: read history", workflow, "", err)
		}

		for _, f := range part.failures {
			out.Add(f.at, f.err)
		}

		out.More = before != "" && !part.success
		if part.success {
			return out, nil
		}
		run = before
	}

	return out, nil
}

type failure struct {
	at  time.Time
	err error
}

// part is what one run adds to a streak: its failures since its last success,
// newest first.
type part struct {
	failures []failure
	success  bool
}

func runStreak(ctx context.Context, c client.Client, workflow, run, activity string) (p part, before string, err error) {
	ours := map[int64]bool{} // scheduled events
	for it := c.GetWorkflowHistory(ctx, workflow, run, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		if err != nil {
			return p, "", err
		}

		at := instant(e.GetEventTime())
		if s := e.GetWorkflowExecutionStartedEventAttributes(); s != nil {
			before = s.GetContinuedExecutionRunId()
		}

		if s := e.GetActivityTaskScheduledEventAttributes(); s != nil && s.GetActivityType().GetName() == activity {
			ours[e.GetEventId()] = true
		}

		if s := e.GetActivityTaskCompletedEventAttributes(); s != nil && ours[s.GetScheduledEventId()] {
			p = part{success: true}
		}

		if s := e.GetActivityTaskFailedEventAttributes(); s != nil && ours[s.GetScheduledEventId()] {
			p.failures = append([]failure{{at, DecodeError(failures{}.FailureToError(s.GetFailure()))}}, p.failures...)
		}

		if s := e.GetActivityTaskTimedOutEventAttributes(); s != nil && ours[s.GetScheduledEventId()] {
			p.failures = append([]failure{{at, DecodeError(failures{}.FailureToError(s.GetFailure()))}}, p.failures...)
		}
	}

	return p, before, nil
}

// Closed is a workflow run that has ended.
type Closed struct {
	Run
	Ended time.Time
	// Completed means that it returned a result, Cancelled that somebody ended it.
	Completed, Cancelled bool
}

// Which runs are meant: those of an id, or of all ids that begin with a prefix,
// and of one workflow unless that is "".
type Which struct{ ID, Prefix, Workflow string }

func (w Which) query() string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

	q := "ExecutionStatus != 'Running' AND ExecutionStatus != 'ContinuedAsNew'"
	if w.ID != "" {
		q += " AND WorkflowId = " + quote(w.ID)
	} else {
		q += " AND WorkflowId STARTS_WITH " + quote(w.Prefix)
	}

	if w.Workflow != "" {
		q += " AND WorkflowType = " + quote(w.Workflow)
	}

	return q
}

const (
	closedPage = 50
	maxClosed  = 1000
)

// EachClosed gives the runs that have ended, newest first, until f returns
// false; more says that there may be others than the 1,000 that it gave. The list may
// be behind by a second or so.
func EachClosed(ctx context.Context, c client.Client, w Which, f func(Closed) bool) (more bool, err error) {
	req := &workflowservice.ListWorkflowExecutionsRequest{Query: w.query(), PageSize: closedPage}
	for n := 0; n < maxClosed; {
		page, err := c.ListWorkflow(ctx, req)
		if err != nil {
			return false, fail.New(serviceCode(err), "engine: list workflows", w.ID+w.Prefix, "", err)
		}

		for _, e := range page.GetExecutions() {
			n++

			x := Closed{Run: Run{ID: e.GetExecution().GetWorkflowId(), RunID: e.GetExecution().GetRunId(), Workflow: e.GetType().GetName(),
				Queue: e.GetTaskQueue(), Started: instant(e.GetStartTime())}, Ended: instant(e.GetCloseTime()),
				Completed: e.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_COMPLETED,
				Cancelled: e.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_CANCELED}
			if !f(x) {
				return false, nil
			}
		}

		if len(page.GetNextPageToken()) == 0 {
			return false, nil
		}
		req.NextPageToken = page.GetNextPageToken()
	}

	return true, nil
}

// Result decodes what a run that has ended returned, or says why it failed.
// Into may be nil.
func Result(ctx context.Context, c client.Client, r Run, into any) error {
	return DecodeError(c.GetWorkflow(ctx, r.ID, r.RunID).Get(ctx, into))
}

// RunStreak looks at the runs that have ended, back to the last that was good.
// Wrong judges one that was completed and may be nil; cancelled ones say nothing.
func RunStreak(ctx context.Context, c client.Client, w Which, wrong func(context.Context, Closed) error) (s Streak, newest Closed, err error) {
	var last Closed
	var inner error

	more, err := EachClosed(ctx, c, w, func(x Closed) bool {
		if newest.ID == "" {
			newest = x
		}

		var bad error
		switch {
		case x.Cancelled:
			return true
		case x.Completed && wrong == nil:
			return false
		case x.Completed:
			if bad = wrong(ctx, x); bad == nil {
				return false
			}
		default:
			bad = errUnread
		}

		if s.Failures == 0 {
			last = x
		}

		s.Add(x.Ended, bad)

		return ctx.Err() == nil
	})
	if s.More = more; s.Err == errUnread { // the text of the newest is enough
		if s.Err = Result(ctx, c, last.Run, nil); s.Err == nil {
			s.Err = fail.Newf(fail.Internal, "engine", last.ID, "it failed without a reason")
		}

		if ctx.Err() != nil {
			inner = ctx.Err()
		}
	}

	if err == nil {
		err = inner
	}

	return s, newest, err
}

var errUnread = fmt.Errorf("not read yet")

// NotFound reports whether a call to the engine failed because there is no
// such thing.
func NotFound(err error) bool { return serviceCode(err) == fail.NotFound }
