package regional

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"drctl/cmd/drctl/choosing"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/internal/ui"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/workflows/recovery"
)

// look is how often a run is asked how far it has come.
const look = 300 * time.Millisecond

// cancelLimit is how long an interrupted command waits until the run was taken back.
const cancelLimit = 10 * time.Minute

// follow shows a run until it ends. An interrupt cancels it: before the point of no
// return it is taken back, behind it it goes on.
//
// own says that the engine is this command's. vouch, when it is set, is the person's statement for every fence that asks. typed are
// lines of a person at the terminal, "STEP ANSWER REASON"; it may be nil.
func (f Faces) follow(ctx context.Context, c client.Client, run client.WorkflowRun, own bool, vouch string, typed <-chan string) (out recovery.Out, err error) {
	ended := make(chan error, 1)
	go func() { ended <- run.Get(context.WithoutCancel(ctx), &out) }()

	tick := time.NewTicker(look)
	defer tick.Stop()

	shown := &shown{faces: f, own: own, typed: typed != nil, said: map[string]string{}}
	interrupted := ctx.Done()

	var limit <-chan time.Time
	for {
		select {
		case err := <-ended:
			if err == nil {
				shown.steps(out)
			}

			return out, engine.DecodeError(err)
		case <-interrupted:
			interrupted, limit = nil, time.After(cancelLimit)

			f.Say(slog.LevelInfo, "cancelling %s: it is taken back, unless a promotion has begun", run.GetID())

			cctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			err := c.CancelWorkflow(cctx, run.GetID(), run.GetRunID())

			stop()

			if err != nil {
				return out, fail.New(fail.Unavailable, "engine: cancel", run.GetID(), "", err)
			}
		case <-limit:
			return out, fail.New(fail.Unavailable, "recovery", run.GetID(), "see it with: drctl recovery show", errors.Join(context.Canceled, errors.New("it has not ended yet")))
		case <-tick.C:
			now, err := state(ctx, c, run.GetID(), run.GetRunID())
			if err != nil {
				continue
			}

			shown.steps(now)

			for _, r := range shown.vouched(now, vouch) {
				if err := c.SignalWorkflow(ctx, run.GetID(), run.GetRunID(), recovery.Answer, r); err != nil {
					f.Say(slog.LevelWarn, "%s: the statement did not reach the run: %v", r.Step, err)
				}
			}
		case line := <-typed:
			if err := f.reply(ctx, c, run, line); err != nil {
				f.Say(slog.LevelWarn, "%v", err)
			}
		}
	}
}

// state asks a run how far it has come.
func state(ctx context.Context, c client.Client, id, run string) (out recovery.Out, err error) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()

	v, err := c.QueryWorkflow(ctx, id, run, recovery.State)
	if err != nil {
		return out, err
	}

	return out, v.Get(&out)
}

// shown says each change once.
type shown struct {
	faces Faces
	own   bool // the engine is this command's own: nobody answers from elsewhere
	typed bool // a person can type answers here
	said  map[string]string
}

// how says where a question is answered.
func (s *shown) how(x recovery.Step, group string) string {
	words := strings.Join(answers(x), "|")

	switch {
	case !s.own && x.Question == machine.AskApprove:
		return "approve with: drctl recovery approve --group " + group
	case !s.own:
		return "answer with: drctl recovery answer --group " + group + " " + x.ID + " " + words + " --reason ..."
	case s.typed:
		return "type: " + x.ID + " " + words + " REASON"
	}

	return "nobody can answer here (" + words + "): interrupt it, and run it in a terminal, or with --vouch"
}

func (s *shown) steps(out recovery.Out) {
	for _, x := range out.Steps {
		text := s.line(x, out.Group)
		if text == "" || s.said[x.ID] == text {
			continue
		}
		s.said[x.ID] = text

		level := slog.LevelInfo
		if x.Status == machine.Asking || x.Status == machine.Failed {
			level = slog.LevelWarn
		}

		s.faces.Say(level, "%s", text)
	}
}

// vouched are the answers to fences that ask, once for each time that one does.
func (s *shown) vouched(out recovery.Out, words string) (all []recovery.Reply) {
	if words == "" {
		return nil
	}

	for _, x := range out.Steps {
		key := fmt.Sprintf("vouched %s %d", x.ID, x.Attempt)
		if x.Op != plan.OpFence || x.Question != machine.AskFailed || s.said[key] != "" || !strings.Contains(x.Error, plan.NoHook) {
			continue
		}
		s.said[key] = words
		all = append(all, recovery.Reply{Step: x.ID, Answer: machine.SayVouch, By: s.faces.By(), Reason: words})
	}

	return all
}

// reply carries what a person has typed.
func (f Faces) reply(ctx context.Context, c client.Client, run client.WorkflowRun, line string) error {
	words := strings.Fields(line)
	if len(words) < 2 {
		return fail.New(fail.Invalid, "recovery: answer", "", "type: STEP ANSWER REASON", fmt.Errorf("%q is no answer", line))
	}

	r := recovery.Reply{Step: words[0], Answer: machine.Answer(words[1]), By: f.By(), Reason: strings.Join(words[2:], " ")}
	if err := said(r); err != nil {
		return err
	}

	return c.SignalWorkflow(ctx, run.GetID(), run.GetRunID(), recovery.Answer, r)
}

// said refuses an answer that nobody can give.
func said(r recovery.Reply) error {
	switch r.Answer {
	case machine.SayYes, machine.SayNo, machine.SayRetry:
		return nil
	case machine.SaySkip, machine.SayVouch, machine.SayGiveUp:
		if r.Reason == "" {
			return fail.New(fail.Invalid, "recovery: answer", r.Step, "say why: it is recorded", errors.New("the reason is missing"))
		}

		return nil
	}

	return fail.New(fail.Invalid, "recovery: answer", string(r.Answer), "use yes, no, retry, skip, vouch or give-up", errors.New("there is no such answer"))
}

// line is what is said of a step while the run goes on; "" is nothing.
func (s *shown) line(x recovery.Step, group string) string {
	switch x.Status {
	case machine.Waiting:
		return ""
	case machine.Asking:
		text := fmt.Sprintf("%s: %s", x.ID, asked(x))
		if x.Error != "" {
			text += ": " + x.Error
		}

		return text + "; " + s.how(x, group)
	case machine.Failed:
		return fmt.Sprintf("%s: failed: %s", x.ID, x.Error)
	case machine.Skipped:
		return fmt.Sprintf("%s: not run: %s", x.ID, x.Why)
	}

	text := x.ID + ": " + string(x.Status)
	if x.Said != "" {
		text += ": " + x.Said
	}

	if x.Waived != "" {
		text += " (" + x.Waived + ")"
	}

	return text
}

func asked(x recovery.Step) string {
	switch x.Question {
	case machine.AskApprove:
		return fmt.Sprintf("%d of %d people have agreed", len(x.Agreed), x.People)
	case machine.AskConfirm:
		return "is it done?"
	case machine.AskRun:
		return "is it to be done?"
	case machine.AskUndo:
		return "it could not be taken back"
	default:
		return "it failed"
	}
}

// answers are those that the machine takes.
func answers(x recovery.Step) []string {
	switch x.Question {
	case machine.AskApprove:
		return []string{"yes", "no"}
	case machine.AskConfirm, machine.AskRun:
		return []string{"yes", "no", "skip"}
	case machine.AskUndo:
		return []string{"retry", "give-up"}
	}

	out := []string{"retry"}
	if !x.Op.Fixed() {
		out = append(out, "skip")
	}

	if x.Op == plan.OpFence {
		out = append(out, "vouch")
	}

	return append(out, "give-up")
}

// tell prints how a run ended, and returns the exit status for it.
func (f Faces) tell(out recovery.Out) error {
	if *f.JSON {
		if err := ui.PrintJSON(f.Out, out); err != nil {
			return err
		}
	} else if err := f.table(out); err != nil {
		return err
	}

	odd := oddities(out)

	switch {
	case out.Verdict == machine.Open:
		return nil
	case out.Verdict == machine.TakenBack:
		return ui.Exit{Code: 1, Message: takenBack(out)}
	case out.Verdict != machine.Reached:
		return ui.Exit{Code: 3, Message: fmt.Sprintf("it ended in between: see drctl recovery show --group %s", out.Group)}
	case len(odd) > 0:
		return ui.Exit{Code: 3, Message: fmt.Sprintf("%s is in %s, but for: %s (see: drctl recovery show --group %s)", out.Group, out.To, strings.Join(odd, ", "), out.Group)}
	}

	return nil
}

// oddities are what is left of a run that has reached its end. Nobody is told that all is well while there is one.
func oddities(out recovery.Out) (odd []string) {
	for _, s := range out.Steps {
		if s.Status != machine.Done {
			odd = append(odd, s.ID)
		}

		if n := len(s.InDoubt); n > 0 {
			odd = append(odd, fmt.Sprintf("%d transactions in doubt", n))
		}
	}

	if h := out.HalfDone; h != nil && len(h.List) > 0 {
		odd = append(odd, human.Plural(len(h.List), "half done global transaction"))
	}

	if h := out.HalfDone; h != nil && len(h.Unknown) > 0 {
		odd = append(odd, "which global transactions are half done is not known of "+human.Plural(len(h.Unknown), "shard"))
	}

	if m := out.Moment; m != nil && m.BrokenCount > 0 {
		odd = append(odd, human.Plural(m.BrokenCount, "global transaction")+" half done at the moment")
	}

	return odd
}

func (f Faces) table(out recovery.Out) error {
	var rows [][]string

	for _, s := range out.Steps {
		what := s.Error
		if what == "" || s.Waived != "" {
			what = strings.TrimSpace(s.Said + " " + s.Why + " " + s.Waived)
		}
		rows = append(rows, []string{s.ID, status(s.Status), took(s.Started, s.Finished), what})

		for _, x := range s.Inside {
			rows = append(rows, []string{"  " + x.ID, status(x.Status), human.Duration(x.Took), x.Error})
		}

		for _, t := range s.InDoubt {
			rows = append(rows, []string{"  in doubt", "", "", t})
		}

		for _, t := range s.Resolved {
			rows = append(rows, []string{"  ended by rule", "", "", t})
		}
	}

	if err := progress.Table(f.Out, []string{"STEP", "STATUS", "TOOK", ""}, rows); err != nil {
		return err
	}

	for _, line := range out.HalfDone.Words() {
		fmt.Fprintln(f.Out, line)
	}

	for _, line := range out.Moment.HalfDone() {
		fmt.Fprintln(f.Out, line)
	}

	if err := f.lossLines(out.Loss); err != nil {
		return err
	}

	choosing.Compare(f.Out, out)

	if c := out.Cause; c != nil {
		fmt.Fprintf(f.Out, "it began by itself: %s was lost since %s: %s\n", c.Verdict.Region, c.Lost.UTC().Format(time.RFC3339Nano), strings.Join(c.Verdict.Reasons, "; "))
	}

	for _, a := range out.Answers {
		if a.Glass && a.Taken {
			fmt.Fprintf(f.Out, "THE GLASS WAS BROKEN at %s by %s: %s; see drctl recovery reviews\n", a.Step, a.By, a.Reason)
		}
	}

	words := map[machine.Verdict]string{machine.Open: "it goes on", machine.Reached: out.Group + " is in " + out.To,
		machine.TakenBack: takenBack(out), machine.Parted: "it ended in between: some of it was done and stays"}
	fmt.Fprintf(f.Out, "%s of %s from %s to %s, epoch %d: %s\n", out.Mode, out.Group, out.From, out.To, out.Epoch, words[out.Verdict])

	return nil
}

func takenBack(out recovery.Out) string {
	if out.Mode == plan.ModeFailover {
		return "taken back: nothing was promoted in " + out.To
	}

	return "taken back: nothing was promoted, and what was begun was undone; see where " + out.Group + " is with: drctl status"
}

func status(s machine.Status) string {
	if s == machine.Waiting {
		return "waiting"
	}

	return string(s)
}

func took(from, to time.Time) string {
	if from.IsZero() || to.Before(from) {
		return ""
	}

	return human.Duration(to.Sub(from))
}

func (f Faces) show(ctx context.Context, group string) error {
	e, group, err := f.online(ctx, group)
	if err != nil {
		return err
	}
	defer e.Close()

	out, err := state(ctx, e.Client, e.IDs.Recover(group), "")
	if err != nil {
		return fail.New(fail.NotFound, "recovery", group, "a restore into instances has the same name: see drctl runs list", err)
	}

	if err := f.tell(out); out.Verdict != machine.Open {
		return err
	}

	return nil
}

func (f Faces) answer(ctx context.Context, group string, r recovery.Reply) error {
	if err := said(r); err != nil {
		return err
	}

	e, group, err := f.online(ctx, group)
	if err != nil {
		return err
	}
	defer e.Close()
	r.By = f.By()
	id := e.IDs.Recover(group)

	before, err := state(ctx, e.Client, id, "")
	if err != nil {
		return fail.New(fail.NotFound, "recovery", group, "", err)
	}

	if err := e.Client.SignalWorkflow(ctx, id, "", recovery.Answer, r); err != nil {
		return fail.New(fail.Unavailable, "recovery: answer", group, "see drctl recovery show", err)
	}

	return f.taken(ctx, e.Client, id, group, len(before.Answers), r)
}

// same compares what came back with what was sent. Who breaks the glass is marked on the way.
func same(came, sent recovery.Reply) bool {
	if (came.Approval == nil) != (sent.Approval == nil) || came.Approval != nil && came.Approval.Signature != sent.Approval.Signature {
		return false
	}

	if sent.Glass {
		came.By = sent.By
	}
	came.Approval, sent.Approval = nil, nil

	return came == sent
}

// taken waits until the run has seen the answer, and says what it made of it.
func (f Faces) taken(ctx context.Context, c client.Client, id, group string, seen int, r recovery.Reply) error {
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(look) {
		now, err := state(ctx, c, id, "")
		if err != nil {
			continue
		}

		for _, g := range now.Answers[min(seen, len(now.Answers)):] {
			if !same(g.Reply, r) {
				continue
			}

			if !g.Taken && g.Why != "" {
				return fail.New(fail.Denied, "recovery: answer", r.Step, "see what is asked: drctl recovery show --group "+group, errors.New(g.Why))
			}

			if !g.Taken {
				return fail.New(fail.Conflict, "recovery: answer", r.Step, "see what is asked: drctl recovery show --group "+group, errors.New("this cannot be said of the step now"))
			}

			if *f.JSON {
				return ui.PrintJSON(f.Out, now)
			}

			fmt.Fprintf(f.Out, "%s: %s\n", r.Step, r.Answer)

			return nil
		}
	}

	return fail.New(fail.Stalled, "recovery: answer", r.Step, "see drctl recovery show", errors.New("no worker has taken the answer yet"))
}

func (f Faces) online(ctx context.Context, group string) (Engine, string, error) {
	cfg, err := f.Load()
	if err != nil {
		return Engine{}, "", err
	}

	if group, err = groupOf(cfg, group); err != nil {
		return Engine{}, "", err
	}
	e, err := f.Online(ctx)

	return e, group, err
}
