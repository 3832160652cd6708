package recovery

import (
	"encoding/json"
	"time"

	"drctl/activities/atmoment"
	"drctl/activities/halfdone"
	"drctl/activities/section"
	"drctl/internal/approval"
	"drctl/internal/detection"
	"drctl/restore/choices"
	"drctl/restore/losses"
	"drctl/restore/machine"
	"drctl/restore/plan"
)

const (
	// Name is what the workflow is registered under.
	Name = "RunRecovery"
	// Answer is the signal with which people answer, and State the query for how far
	// a run has come.
	Answer = "answer"
	State  = "state"
	// Foreseen is the signal that brings what was foreseen, where that was not known yet when the run
	// began: nothing waits for it.
	Foreseen = "foreseen"
)

// In is a run.
type In struct {
	Run   string    `json:"run"`
	By    string    `json:"by"`
	Group string    `json:"group"`
	Plan  plan.Ref  `json:"plan"`
	Mode  plan.Mode `json:"mode"`
	From  string    `json:"from"`
	To    string    `json:"to"`
	// Take is how often the run was taken up by another engine, this time included.
	Take int `json:"take,omitempty"`
	// Cause is set for a run that began by itself.
	Cause *Cause `json:"cause,omitempty"`
	// Choices is what was shown to whoever began it: both ways, as they were foreseen. It is nil when
	// nobody was shown anything, or not yet.
	Choices *choices.Table `json:"choices,omitempty"`
	// Order is the folded outline of the plan.
	Order plan.Outline `json:"order"`
	// Queues are the task queues by region.
	Queues map[string]string `json:"queues"`
}

// Out is how a run ended, or how far it has come.
type Out struct {
	Run     string          `json:"run"`
	Group   string          `json:"group"`
	Mode    plan.Mode       `json:"mode"`
	From    string          `json:"from"`
	To      string          `json:"to"`
	By      string          `json:"by"`
	Plan    string          `json:"plan"` // hash
	Epoch   uint64          `json:"epoch,omitempty"`
	Verdict machine.Verdict `json:"verdict"`
	// Take is how often the run was taken up by another engine.
	Take int `json:"take,omitempty"`
	// Unkept is why the vaults do not know how it ended; "" when they do.
	Unkept string `json:"unkept,omitempty"`
	// Past says that a step has begun that nothing can undo.
	Past    bool    `json:"past,omitempty"`
	Steps   []Step  `json:"steps"`
	Answers []Given `json:"answers,omitempty"`
	// Cause is why it began by itself; nil when a person began it.
	Cause *Cause `json:"cause,omitempty"`
	// Choices are both ways of the failover, as they were foreseen when a person began it.
	Choices *choices.Table `json:"choices,omitempty"`
	// Loss is what a failover lost, as far as it is known at once.
	Loss *losses.Statement `json:"loss,omitempty"`
	// HalfDone are tagged global transactions of which a part is lost; nil before a promotion.
	HalfDone *halfdone.Halves `json:"half_done,omitempty"`
	// Moment is what a proven recovery goes to.
	Moment *atmoment.Bound `json:"moment,omitempty"`
	// Laid are the shards that were laid down from the vault at a proven moment.
	Laid     []atmoment.Laid `json:"laid,omitempty"`
	Started  time.Time       `json:"started"`
	Finished time.Time       `json:"finished,omitzero"`
}

// Step is one step, or one section with its steps inside.
type Step struct {
	ID     string         `json:"id"`
	Op     plan.Op        `json:"op"`
	Status machine.Status `json:"status"`
	// Question is what people are asked, and People how many have to agree.
	Question machine.Question `json:"question,omitempty"`
	People   int              `json:"people,omitempty"`
	Agreed   []string         `json:"agreed,omitempty"`
	// Subject is what people sign who approve.
	Subject  *approval.Subject `json:"subject,omitempty"`
	Waived   string            `json:"waived,omitempty"`
	Attempt  int               `json:"attempt,omitempty"`
	Error    string            `json:"error,omitempty"`
	Said     string            `json:"said,omitempty"`
	Why      string            `json:"why,omitempty"` // it did not run
	Started  time.Time         `json:"started,omitzero"`
	Finished time.Time         `json:"finished,omitzero"`
	// InDoubt are transactions that are prepared on the new side and that nobody has ended.
	InDoubt []string `json:"in_doubt,omitempty"`
	// Resolved are those that were ended by rule, each with its reason.
	Resolved []string `json:"resolved,omitempty"`
	// Inside are the steps of a section.
	Inside []section.StepResult `json:"inside,omitempty"`
}

// Reply is what a person says.
type Reply struct {
	Step   string         `json:"step"`
	Answer machine.Answer `json:"answer"`
	By     string         `json:"by"`
	Reason string         `json:"reason,omitempty"`
	// Approval is a signed yes to an approval, and Glass one without the others that are
	// wanted, and without a signature: the reason says why.
	Approval *approval.Approval `json:"approval,omitempty"`
	Glass    bool               `json:"break_glass,omitempty"`
}

// Given is a reply that came, and whether it could be said then.
type Given struct {
	Reply
	At    time.Time `json:"at"`
	Taken bool      `json:"taken"`
	// Why says why it was not taken.
	Why string `json:"why,omitempty"`
}

// Cause is why a run began by itself.
type Cause struct {
	Verdict detection.Verdict `json:"verdict"`
	// Lost is when the region was called lost, and Decided when the run was begun, by the
	// clock of who decided.
	Lost    time.Time `json:"lost"`
	Decided time.Time `json:"decided"`
}

// ended is the end of an attempt, or of a pause.
type ended struct {
	Timer     int
	Step      string
	Undo      bool
	Failed    bool
	Untouched bool
	Error     string
	Said      string
	Out       json.RawMessage
	Inside    []section.StepResult
	InDoubt   []string
	Resolved  []string
	Halves    *halfdone.Halves
	Loss      *losses.Statement
}

// end is actions.EndIn, whose Out is not looked into there.
type end struct {
	Run  string   `json:"run"`
	Plan plan.Ref `json:"plan"`
	Out  Out      `json:"out"`
}
