package recovery

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"drctl/activities/approving"
	"drctl/internal/approval"
	"drctl/internal/engine"
	"drctl/restore/machine"
	"drctl/restore/plan"
)

// answer tells the machine what a person said, and notes whether it took it.
func (r *run) answer(ctx workflow.Context, a Reply, alone bool) {
	before := r.of(a.Step)
	r.tell(ctx, machine.Answered{Step: a.Step, Answer: a.Answer, By: a.By, Reason: a.Reason, Alone: alone})
	r.out.Answers = append(r.out.Answers, Given{Reply: a, At: workflow.Now(ctx).UTC(), Taken: changed(before, r.of(a.Step))})
}

// approve takes a yes to an approval. It is false for everything else, and where the
// configuration names nobody whose signature is wanted: then the word is enough.
//
// The machine hears of approvals only when there are enough of them that hold at one time: one
// that has expired meanwhile is wanted again.
func (r *run) approve(ctx workflow.Context, a Reply) bool {
	s := r.of(a.Step)
	if s.Question != machine.AskApprove || a.Answer != machine.SayYes || workflow.GetVersion(ctx, "signed approvals", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return false
	}

	given := Given{Reply: a, At: workflow.Now(ctx).UTC()}
	in := approving.In{Run: r.in.Run, Plan: r.in.Plan, Step: a.Step, Subject: r.subject(a.Step), Kept: r.approvals[a.Step], Given: a.Approval,
		Glass: a.Glass, By: a.By, Reason: a.Reason, Now: given.At}

	var out approving.Out
	if err := workflow.ExecuteActivity(quick(ctx, r.in.Queues[r.in.To]), approving.Name, in).Get(ctx, &out); err != nil {
		out = approving.Out{Signed: true, Why: engine.DecodeError(err).Error()}
	}

	switch {
	case out.Broken:
		a.By += " (break-glass)"

		r.answer(ctx, a, true)
	case !out.Signed:
		return false
	case out.Why != "":
		given.Why = out.Why
		r.out.Answers = append(r.out.Answers, given)
	default:
		r.approvals[a.Step] = out.Kept
		given.Taken = true
		r.out.Answers = append(r.out.Answers, given)

		if out.Enough {
			for _, x := range out.Kept {
				r.tell(ctx, machine.Answered{Step: a.Step, Answer: machine.SayYes, By: x.By})
			}

			delete(r.approvals, a.Step)
		}
	}

	return true
}

// subject is what people approve: the plan, and the state that it was checked in. A run that is
// taken up by another engine, another step and another run are other states.
func (r *run) subject(step string) approval.Subject {
	// Each word is quoted: two states never look alike.
	state := fmt.Appendf(nil, "%q %q %q %q %q %q %d %d", r.in.Group, r.in.Run, r.in.From, r.in.To, r.behind, step, r.out.Epoch, r.in.Take)

	var seen []string
	for _, s := range r.out.Steps {
		if s.Op == plan.OpPrecheck {
			state = fmt.Appendf(state, " %q %q", s.ID, s.Said)

			seen = append(seen, strings.TrimSuffix(s.ID+": "+s.Said, ": "))
		}
	}

	sum := sha256.Sum256(state)

	// What was foreseen when it began is shown, and signed. What came later would void signatures.
	foreseen := r.in.Choices.Words()
	if foreseen != "" {
		foreseen = " " + foreseen + "."
	}

	return approval.Subject{Action: string(r.in.Mode), Plan: r.in.Plan.SHA256, State: hex.EncodeToString(sum[:]),
		Words: fmt.Sprintf("%s of %s from %s to %s, run %s, epoch %d, step %s. Checked: %s.%s", r.in.Mode, r.in.Group, r.in.From, r.in.To, r.in.Run, r.out.Epoch, step, strings.Join(seen, "; "), foreseen)}
}
