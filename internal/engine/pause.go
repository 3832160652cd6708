package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"drctl/internal/fail"
)

// ScheduleState is what a platform's schedule does now.
type ScheduleState struct {
	ID     string    `json:"id"`
	Paused bool      `json:"paused"`
	Note   string    `json:"note,omitempty"`
	Next   time.Time `json:"next,omitzero"` // zero while it is paused
}

// pausedByHand is the note of a pause without a reason. It is not the one of the
// configuration's own pauses, which apply lifts.
const pausedByHand = "paused by an operator"

// Schedules lists the schedules that drctl made for a platform, by id. The list
// may be behind by a second or so; what it says of each is not.
func Schedules(ctx context.Context, c client.Client, platform string) ([]ScheduleState, error) {
	out := []ScheduleState{}
	err := eachSchedule(ctx, c, func(e *client.ScheduleListEntry) error {
		if memoText(e.Memo.GetFields()[memoPlatform]) != platform {
			return nil
		}
		d, err := c.ScheduleClient().GetHandle(ctx, e.ID).Describe(ctx)
		if NotFound(err) {
			return nil
		}
		if err != nil {
			return fail.New(serviceCode(err), "engine: describe schedule", e.ID, "", err)
		}
		s := ScheduleState{ID: e.ID, Paused: d.Schedule.State.Paused, Note: d.Schedule.State.Note}
		if next := d.Info.NextActionTimes; len(next) > 0 && !s.Paused {
			s.Next = next[0].UTC()
		}
		out = append(out, s)
		return nil
	})
	slices.SortFunc(out, func(a, b ScheduleState) int { return strings.Compare(a.ID, b.ID) })

	return out, err
}

// PauseSchedule pauses a schedule for a reason, which may be empty. It stays paused
// until ResumeSchedule, whatever is applied.
func PauseSchedule(ctx context.Context, c client.Client, id, reason string) error {
	if reason == "" {
		reason = pausedByHand
	}
	if reason == pauseNote {
		return fail.New(fail.Invalid, "engine: pause schedule", id, "give another reason", errors.New("apply would take this pause for the configuration's and lift it"))
	}
	err := c.ScheduleClient().GetHandle(ctx, id).Pause(ctx, client.SchedulePauseOptions{Note: reason})

	return onSchedule("engine: pause schedule", id, err)
}

// ResumeSchedule ends a pause. What fell due meanwhile is not made up for.
func ResumeSchedule(ctx context.Context, c client.Client, id string) error {
	err := c.ScheduleClient().GetHandle(ctx, id).Unpause(ctx, client.ScheduleUnpauseOptions{Note: "resumed by an operator"})

	return onSchedule("engine: resume schedule", id, err)
}

func onSchedule(op, id string, err error) error {
	if err == nil {
		return nil
	}

	return fail.New(serviceCode(err), op, id, "list them with: drctl schedule list", err)
}
