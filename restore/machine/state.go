package machine

import (
	"time"

	"drctl/restore/plan"
)

// Status is how far a step has come.
type Status string

// The statuses of a step.
const (
	Waiting Status = ""        // for what it needs, or for its turn
	Running Status = "running" // it was told to begin and has not ended
	Done    Status = "done"
	Failed  Status = "failed"
	Skipped Status = "skipped" // it never began
	Pausing Status = "pausing" // between two attempts, of the step or of its undoing
	Asking  Status = "asking"  // people have to say something
	Undoing Status = "undoing" // what it did is being taken back
	Undone  Status = "undone"
	Left    Status = "left" // it could not be taken back, and people gave it up
)

// OtherMode is why a step counts as done that its plan leaves out in this mode.
const OtherMode = "it is not of this mode"

// Ended reports whether nothing more comes of a step but its undoing.
func (s Status) Ended() bool {
	switch s {
	case Done, Failed, Skipped, Undone, Left:
		return true
	}

	return false
}

// State is how far a run has come. It is plain data: a state that was stored
// goes on as the one in memory would have. The zero value is before Begin.
type State struct {
	// Steps are in the order of the outline.
	Steps []StepState `json:"steps"`
	// Ready are the steps that wait for their turn alone, by index, in the order
	// of the outline.
	Ready     []int `json:"ready,omitempty"`
	Running   int   `json:"running,omitempty"` // steps that run or are being undone
	Open      int   `json:"open"`              // steps that have not ended
	Cancelled bool  `json:"cancelled,omitempty"`
	// Past says that a step has begun which nothing can undo.
	Past bool `json:"past,omitempty"`
	// Aborting says that nothing new begins, and that what was begun is undone.
	Aborting bool `json:"aborting,omitempty"`
	Finished bool `json:"finished,omitempty"`
	Began    int  `json:"began,omitempty"`  // how many steps have begun
	Timers   int  `json:"timers,omitempty"` // how many timers were set
}

// StepState is how far one step has come.
type StepState struct {
	Status Status `json:"status,omitempty"`
	// Unmet counts the steps that have to end before this one may begin.
	Unmet int `json:"unmet,omitempty"`
	// Attempt is the running attempt, or the last one, of the step or of its undoing.
	Attempt int `json:"attempt,omitempty"`
	// Began is the how manyth step it was to begin; 0 never began.
	Began int `json:"began,omitempty"`
	// Timer is the one that counts for it.
	Timer int `json:"timer,omitempty"`
	// Question is what people are asked.
	Question Question `json:"question,omitempty"`
	// Agreed are those who approved, or who let it begin.
	Agreed []string `json:"agreed,omitempty"`
	// Waived says why it counts as done although it was not, and by whom.
	Waived string `json:"waived,omitempty"`
	Past   bool   `json:"past,omitempty"` // nothing can undo it
}

// Event is what happened: Begin, Ended, Undid, Elapsed, Answered or Cancelled.
type Event interface{ event() }

// Begin starts the run.
type Begin struct{}

// Ended says that a step that was told to begin has ended. One that found
// something wrong in what it checked has not failed.
type Ended struct {
	Step   string
	Failed bool
	// Untouched says that a failed step has surely changed nothing, or has taken
	// back all of it: a section says so of its steps.
	Untouched bool
}

// Undid says that the undoing of a step has ended.
type Undid struct {
	Step   string
	Failed bool
}

// Elapsed says that the time of a Wait is over.
type Elapsed struct{ Timer int }

// Answered is what a person said to a question, or, with SaySkip, of a step that
// has not begun. Who may say so is for the caller to check.
type Answered struct {
	Step   string
	Answer Answer
	By     string
	Reason string
	// Alone says that this one yes is enough where several people are to approve: the glass
	// was broken. Who may do that, and that it is told to people, is for the caller.
	Alone bool
}

// Cancelled says that nothing more is to begin; what was begun is undone. Behind
// the point of no return it stops nothing. It may come instead of Begin.
type Cancelled struct{}

func (Begin) event()     {}
func (Ended) event()     {}
func (Undid) event()     {}
func (Elapsed) event()   {}
func (Answered) event()  {}
func (Cancelled) event() {}

// Question is what people are asked.
type Question string

// The questions.
const (
	AskApprove Question = "approve" // yes of as many people as it wants, or no
	AskConfirm Question = "confirm" // is it done: yes, no, skip
	AskRun     Question = "run"     // yes, no, skip
	AskFailed  Question = "failed"  // retry, skip, vouch, give up
	AskUndo    Question = "undo"    // retry, give up
)

// Answer is what a person says.
type Answer string

// The answers. Those to skip, to vouch and to give up want a reason.
const (
	SayYes    Answer = "yes"
	SayNo     Answer = "no"
	SayRetry  Answer = "retry"
	SaySkip   Answer = "skip"    // it counts as done
	SayVouch  Answer = "vouch"   // the person's signed word stands for it
	SayGiveUp Answer = "give-up" // it stays as it is
)

// Command is what is to be done now: Do, Undo, Halt, Wait, Ask, Skip or Finish.
type Command interface{ command() }

// Do begins an attempt of a step. Its end is to be told with Ended, within the
// step's limit.
type Do struct {
	Step    plan.Node
	Attempt int
}

// Undo undoes what a step did, or may have done. Its end is to be told with Undid. It
// may come for a step that did nothing.
type Undo struct {
	Step    plan.Node
	Attempt int
}

// Halt says that a running step is no longer wanted. Its end is to be told all the same.
type Halt struct{ Step string }

// Wait asks for Elapsed after a time.
type Wait struct {
	Step  string
	Timer int
	For   time.Duration
}

// Ask puts a question to people; Answered is to tell what they say. A question goes
// when its step gets another status.
type Ask struct {
	Step     string
	Question Question
	People   int
}

// Skip says that a step will not run, and why.
type Skip struct{ Step, Why string }

// Finish says that every step has ended. It is the last command of a run.
type Finish struct{}

func (Do) command()     {}
func (Undo) command()   {}
func (Halt) command()   {}
func (Wait) command()   {}
func (Ask) command()    {}
func (Skip) command()   {}
func (Finish) command() {}
