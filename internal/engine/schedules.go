package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"drctl/internal/fail"
)

// Schedule starts a workflow again and again.
type Schedule struct {
	ID string
	// Every is the interval; runs fall on multiples of it since 1970, plus
	// Offset. Cron, in five fields and UTC, is the alternative.
	Every  time.Duration
	Offset time.Duration
	Cron   string
	// Jitter spreads starts at random over this long, for many that fall due together.
	Jitter time.Duration
	// CatchupWindow is how late a start may be after the engine was down; 0 is
	// half the interval (at least 10 seconds, the engine's own minimum). It
	// must be below the interval: what was missed longer ago is no use twice.
	CatchupWindow time.Duration
	// Overlap is "skip" ("", the default), "buffer-one", "cancel-other" or "allow".
	Overlap string

	WorkflowName string
	// WorkflowID is the beginning of the id of each run: the engine appends
	// the nominal time. So the id excludes nothing; Overlap does.
	WorkflowID string
	TaskQueue  string
	Args       []any // plain data, no secrets
	// RunTimeout is how long a run may take before the engine ends it; 0 sets no
	// limit, and a run whose queue nobody serves then keeps others from starting.
	RunTimeout time.Duration
	// Hash is anything else whose change must update the schedule; may be empty.
	Hash string
	// Paused creates it paused. An operator's own pause is never lifted.
	Paused bool
}

// Change is what ReconcileSchedules did with one schedule.
type Change struct {
	ID     string `json:"id"`
	Action string `json:"action"` // "created", "updated", "deleted", "kept"; of a run "ended", "left"
	Paused bool   `json:"paused"`
	Note   string `json:"note,omitempty"` // of the pause, or why a run was ended or left
}

const (
	memoHash = "drctl.hash" // on the action: it is replaced with it
	// On the schedule: the platform whose it is to delete.
	memoPlatform = "drctl.platform"
	// On the schedules of a drctl that did not tell platforms apart, which
	// deletes all that have it.
	memoOldOwner = "drctl.owner"
	pauseNote    = "paused by the configuration"
	minWindow    = 10 * time.Second
)

// ReconcileSchedules makes the engine's schedules those given: missing ones
// are created, those whose definition changed are updated, and with prune
// those that drctl made for this platform and that are no longer wanted are
// deleted. Other platforms' schedules are left alone. Whether a
// definition changed is told by a hash kept in the action's memo. It does what
// it can: after an error the changes already made are returned beside it, and
// calling it again goes on.
func ReconcileSchedules(ctx context.Context, c client.Client, platform string, want []Schedule, prune bool) ([]Change, error) {
	wanted := map[string]bool{}
	for i := range want {
		if err := want[i].check(); err != nil {
			return nil, err
		}

		if wanted[want[i].ID] {
			return nil, fail.Newf(fail.Invalid, "engine: schedules", want[i].ID, "it is given twice")
		}
		wanted[want[i].ID] = true
	}
	var changes []Change

	var errs []error
	for _, s := range want {
		ch, err := reconcile(ctx, c, platform, s)
		if err != nil {
			errs = append(errs, fail.New(serviceCode(err), "engine: reconcile schedule", s.ID, "", err))
			continue
		}
		changes = append(changes, ch)
	}

	if prune {
		gone, err := pruneSchedules(ctx, c, platform, wanted)

		changes = append(changes, gone...)
		if err != nil {
			errs = append(errs, err)
		}
	}

	return changes, errors.Join(errs...)
}

func (s *Schedule) check() error {
	const op = "engine: schedules"

	bad := func(format string, args ...any) error { return fail.Newf(fail.Invalid, op, s.ID, format, args...) }
	switch {
	case s.ID == "" || s.WorkflowName == "" || s.WorkflowID == "" || s.TaskQueue == "":
		return bad("id, workflow name, workflow id and task queue are needed")
	case (s.Every > 0) == (s.Cron != ""):
		return bad("give either an interval or a cron line")
	case s.Every < 0 || s.Every > 0 && s.Every < time.Second:
		return bad("the interval %s is below a second", s.Every)
	case s.Offset < 0 || s.Every > 0 && s.Offset >= s.Every:
		return bad("the offset %s is not within the interval %s", s.Offset, s.Every)
	case s.RunTimeout < 0:
		return bad("the time limit %s is negative", s.RunTimeout)
	case s.Jitter < 0 || s.Every > 0 && s.Jitter >= s.Every:
		return bad("the jitter %s is not below the interval %s", s.Jitter, s.Every)
	}

	if s.CatchupWindow == 0 {
		s.CatchupWindow = 30 * time.Minute
		if s.Every > 0 {
			s.CatchupWindow = max(s.Every/2, minWindow)
		}
	}

	if s.CatchupWindow < minWindow {
		return bad("the catch-up window %s is below the engine's minimum of %s", s.CatchupWindow, minWindow)
	}

	if s.Every > minWindow && s.CatchupWindow >= s.Every {
		return bad("the catch-up window %s is not below the interval %s", s.CatchupWindow, s.Every)
	}

	if _, ok := overlaps[s.Overlap]; !ok {
		return bad("unknown overlap %q", s.Overlap)
	}

	return nil
}

var overlaps = map[string]enums.ScheduleOverlapPolicy{
	"":             enums.SCHEDULE_OVERLAP_POLICY_SKIP,
	"skip":         enums.SCHEDULE_OVERLAP_POLICY_SKIP,
	"buffer-one":   enums.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE,
	"cancel-other": enums.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER,
	"allow":        enums.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL,
}

// hash covers every field, so that nothing can change unseen.
func (s Schedule) hash() (string, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return "", fail.New(fail.Invalid, "engine: schedules", s.ID, "", err)
	}
	sum := sha256.Sum256(b)

	return hex.EncodeToString(sum[:]), nil
}

func (s Schedule) spec() client.ScheduleSpec {
	spec := client.ScheduleSpec{Jitter: s.Jitter}
	if s.Cron != "" {
		spec.CronExpressions = []string{s.Cron}
	} else {
		spec.Intervals = []client.ScheduleIntervalSpec{{Every: s.Every, Offset: s.Offset}}
	}

	return spec
}

func (s Schedule) action(hash string) *client.ScheduleWorkflowAction {
	return &client.ScheduleWorkflowAction{
		ID: s.WorkflowID, Workflow: s.WorkflowName, TaskQueue: s.TaskQueue, Args: s.Args,
		Memo: map[string]any{memoHash: hash}, WorkflowRunTimeout: s.RunTimeout,
	}
}

func reconcile(ctx context.Context, c client.Client, platform string, s Schedule) (Change, error) {
	hash, err := s.hash()
	if err != nil {
		return Change{}, err
	}
	h := c.ScheduleClient().GetHandle(ctx, s.ID)

	d, err := h.Describe(ctx)
	if serviceCode(err) == fail.NotFound {
		o := client.ScheduleOptions{
			ID: s.ID, Spec: s.spec(), Action: s.action(hash), Overlap: overlaps[s.Overlap],
			CatchupWindow: s.CatchupWindow, Paused: s.Paused, Memo: map[string]any{memoPlatform: platform},
		}
		if s.Paused {
			o.Note = pauseNote
		}
		_, err = c.ScheduleClient().Create(ctx, o)

		return Change{ID: s.ID, Action: "created", Paused: o.Paused, Note: o.Note}, err
	}

	if err != nil {
		return Change{}, err
	}

	ch := Change{ID: s.ID, Action: "kept", Paused: d.Schedule.State.Paused, Note: d.Schedule.State.Note}
	if hashOf(d.Schedule.Action) == hash {
		return ch, nil
	}
	err = h.Update(ctx, client.ScheduleUpdateOptions{DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
		now := in.Description.Schedule
		spec := s.spec()
		now.Spec, now.Action = &spec, s.action(hash)
		now.Policy = &client.SchedulePolicies{Overlap: overlaps[s.Overlap], CatchupWindow: s.CatchupWindow}
		// A pause with another note is somebody's decision: it stays.
		if !now.State.Paused || now.State.Note == pauseNote {
			now.State.Paused, now.State.Note = s.Paused, ""
			if s.Paused {
				now.State.Note = pauseNote
			}
		}
		ch = Change{ID: s.ID, Action: "updated", Paused: now.State.Paused, Note: now.State.Note}
		return &client.ScheduleUpdate{Schedule: &now}, nil
	}})

	return ch, err
}

func hashOf(a client.ScheduleAction) string {
	w, ok := a.(*client.ScheduleWorkflowAction)
	if !ok {
		return ""
	}
	p, _ := w.Memo[memoHash].(*commonpb.Payload)

	return memoText(p)
}

// memoText is the text in a memo's field; "" when there is none.
func memoText(p *commonpb.Payload) string {
	var s string
	if p == nil || converter.GetDefaultDataConverter().FromPayload(p, &s) != nil {
		return ""
	}

	return s
}

// OldSchedules lists the ids of the schedules of a drctl that did not tell
// platforms apart. DeleteSchedule deletes one.
func OldSchedules(ctx context.Context, c client.Client) ([]string, error) {
	var out []string
	err := eachSchedule(ctx, c, func(e *client.ScheduleListEntry) error {
		if e.Memo.GetFields()[memoOldOwner] != nil {
			out = append(out, e.ID)
		}

		return nil
	})

	return out, err
}

// DeleteSchedule deletes a schedule and reports whether it was there: the list
// of schedules is behind by a second or so.
func DeleteSchedule(ctx context.Context, c client.Client, id string) (was bool, err error) {
	err = c.ScheduleClient().GetHandle(ctx, id).Delete(ctx)
	if serviceCode(err) == fail.NotFound {
		return false, nil
	}

	if err != nil {
		return false, fail.New(serviceCode(err), "engine: delete schedule", id, "", err)
	}

	return true, nil
}

func eachSchedule(ctx context.Context, c client.Client, do func(*client.ScheduleListEntry) error) error {
	const op = "engine: list schedules"

	list, err := c.ScheduleClient().List(ctx, client.ScheduleListOptions{PageSize: 200})
	if err != nil {
		return fail.New(serviceCode(err), op, "", "", err)
	}

	for list.HasNext() {
		e, err := list.Next()
		if err != nil {
			return fail.New(serviceCode(err), op, "", "", err)
		}

		if err := do(e); err != nil {
			return err
		}
	}

	return nil
}

func pruneSchedules(ctx context.Context, c client.Client, platform string, wanted map[string]bool) (out []Change, err error) {
	err = eachSchedule(ctx, c, func(e *client.ScheduleListEntry) error {
		if wanted[e.ID] || memoText(e.Memo.GetFields()[memoPlatform]) != platform {
			return nil
		}

		was, err := DeleteSchedule(ctx, c, e.ID)
		if was {
			out = append(out, Change{ID: e.ID, Action: "deleted"})
		}

		return err
	})

	return out, err
}

// String renders the change for people: "cut/shop: updated (paused: maintenance)".
func (c Change) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", c.ID, c.Action)

	switch {
	case c.Paused && c.Note != "":
		fmt.Fprintf(&b, " (paused: %s)", c.Note)
	case c.Paused:
		b.WriteString(" (paused)")
	case c.Note != "":
		fmt.Fprintf(&b, " (%s)", c.Note)
	}

	return b.String()
}
