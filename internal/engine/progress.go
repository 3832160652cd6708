package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"drctl/internal/fail"
)

// Pending is an activity that runs or waits to run.
type Pending struct {
	Workflow string `json:"workflow"` // id of the workflow that asked for it
	Activity string `json:"activity"` // its name
	ID       string `json:"id"`
	Queue    string `json:"queue,omitempty"`
	// State is "scheduled" (no worker has it), "started" or "cancelling".
	State         string    `json:"state"`
	Attempt       int       `json:"attempt"`
	Scheduled     time.Time `json:"scheduled,omitzero"`
	Started       time.Time `json:"started,omitzero"`
	LastHeartbeat time.Time `json:"last_heartbeat,omitzero"`
	NextAttempt   time.Time `json:"next_attempt,omitzero"`
	Worker        string    `json:"worker,omitempty"` // identity of the last worker
	// LastFailure is why the attempt before failed; "" when none did.
	LastFailure string    `json:"last_failure,omitempty"`
	LastCode    fail.Code `json:"last_code,omitempty"`
	LastError   error     `json:"-"`                   // the same, decoded
	LastEnded   time.Time `json:"last_ended,omitzero"` // when the attempt before ended
	// Details is what the activity reported with its last heartbeat, as JSON;
	// nil when it has reported nothing.
	Details json.RawMessage `json:"details,omitempty"`
}

// maxFamily bounds how many workflows one call of Progress looks at.
const maxFamily = 200

// Progress lists the pending activities of a workflow's current run and of its
// running children, oldest first. It needs no worker. Not-found when there is
// no such workflow.
func Progress(ctx context.Context, c client.Client, workflowID string) ([]Pending, error) {
	var out []Pending

	todo := []string{workflowID}
	for n := 0; n < len(todo) && n < maxFamily; n++ {
		d, err := c.DescribeWorkflowExecution(ctx, todo[n], "")
		if err != nil {
			if n > 0 && serviceCode(err) == fail.NotFound {
				continue // a child that ended meanwhile
			}

			return nil, fail.New(serviceCode(err), "engine: describe workflow", todo[n], "", err)
		}

		for _, a := range d.GetPendingActivities() {
			out = append(out, pending(todo[n], a))
		}

		for _, ch := range d.GetPendingChildren() {
			todo = append(todo, ch.GetWorkflowId())
		}
	}

	return out, nil
}

func pending(id string, a *workflowpb.PendingActivityInfo) Pending {
	p := Pending{
		Workflow: id, Activity: a.GetActivityType().GetName(), ID: a.GetActivityId(), Queue: a.GetActivityOptions().GetTaskQueue().GetName(),
		Attempt: int(a.GetAttempt()), Worker: a.GetLastWorkerIdentity(),
		Scheduled: instant(a.GetScheduledTime()), Started: instant(a.GetLastStartedTime()),
		LastHeartbeat: instant(a.GetLastHeartbeatTime()), NextAttempt: instant(a.GetNextAttemptScheduleTime()),
		Details: details(a.GetHeartbeatDetails()), LastEnded: instant(a.GetLastAttemptCompleteTime()),
	}
	switch a.GetState() {
	case enums.PENDING_ACTIVITY_STATE_STARTED:
		p.State = "started"
	case enums.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED:
		p.State = "cancelling"
	default:
		p.State = "scheduled"
	}

	if f := a.GetLastFailure(); f != nil {
		err := DecodeError(failures{}.FailureToError(f))
		p.LastFailure, p.LastCode, p.LastError = err.Error(), fail.CodeOf(err), err
	}

	return p
}

// Outcome says how an activity that is no longer pending ended: nil when it was
// done, its error otherwise. Known is false when the history does not tell (yet).
func Outcome(ctx context.Context, c client.Client, p Pending) (known bool, err error) {
	it := c.GetWorkflowHistory(ctx, p.Workflow, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)

	id := int64(-1)
	for it.HasNext() {
		e, herr := it.Next()
		if herr != nil {
			return false, nil
		}

		if a := e.GetActivityTaskScheduledEventAttributes(); a != nil && a.GetActivityId() == p.ID {
			id = e.GetEventId()
		}

		if a := e.GetActivityTaskCompletedEventAttributes(); a != nil && a.GetScheduledEventId() == id {
			return true, nil
		}

		if a := e.GetActivityTaskFailedEventAttributes(); a != nil && a.GetScheduledEventId() == id {
			return true, DecodeError(failures{}.FailureToError(a.GetFailure()))
		}

		if a := e.GetActivityTaskTimedOutEventAttributes(); a != nil && a.GetScheduledEventId() == id {
			return true, DecodeError(failures{}.FailureToError(a.GetFailure()))
		}

		if a := e.GetActivityTaskCanceledEventAttributes(); a != nil && a.GetScheduledEventId() == id {
			return true, context.Canceled
		}
	}

	return false, nil
}

func instant(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}

	return t.AsTime()
}

// details is the first heartbeat detail when it is JSON.
func details(p *commonpb.Payloads) json.RawMessage {
	if len(p.GetPayloads()) == 0 {
		return nil
	}

	var raw json.RawMessage
	if converter.GetDefaultDataConverter().FromPayload(p.GetPayloads()[0], &raw) != nil || !json.Valid(raw) {
		return nil
	}

	return raw
}

// Run is a workflow that runs.
type Run struct {
	ID       string    `json:"id"`
	RunID    string    `json:"run_id"`
	Workflow string    `json:"workflow"`
	Queue    string    `json:"queue"`
	Started  time.Time `json:"started"`
}

// Running lists the running workflows whose ids begin with prefix ("" is
// all), newest first. The list may be behind by a second or so.
func Running(ctx context.Context, c client.Client, prefix string) ([]Run, error) {
	query := `ExecutionStatus = 'Running'`
	if prefix != "" {
		query += fmt.Sprintf(` AND WorkflowId STARTS_WITH '%s'`, strings.ReplaceAll(prefix, "'", `''`))
	}
	var out []Run

	req := &workflowservice.ListWorkflowExecutionsRequest{Query: query, PageSize: 500}
	for {
		page, err := c.ListWorkflow(ctx, req)
		if err != nil {
			return nil, fail.New(serviceCode(err), "engine: list workflows", prefix, "", err)
		}

		for _, e := range page.GetExecutions() {
			if !strings.HasPrefix(e.GetExecution().GetWorkflowId(), prefix) {
				continue
			}
			out = append(out, Run{
				ID: e.GetExecution().GetWorkflowId(), RunID: e.GetExecution().GetRunId(),
				Workflow: e.GetType().GetName(), Queue: e.GetTaskQueue(), Started: instant(e.GetStartTime()),
			})
		}

		if len(page.GetNextPageToken()) == 0 {
			return out, nil
		}
		req.NextPageToken = page.GetNextPageToken()
	}
}

// checkNamespace fails when the namespace cannot be used.
func checkNamespace(ctx context.Context, c client.Client, namespace string) error {
	_, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: namespace})
	return err
}
