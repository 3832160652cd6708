package plan

import "time"

// The operations of a plan by which a group goes from one region to another.
const (
	OpPrecheck Op = "precheck" // a condition, and what is made ready beforehand
	OpApprove  Op = "approve"  // people decide
	OpClaim    Op = "claim"    // the region that takes over gets the group's next epoch
	OpFence    Op = "fence"    // the old primary is silent, with proof
	OpDrain    Op = "drain"    // the standby holds all that the silent primary had
	OpFeed     Op = "feed"     // the standby gets what only the vault has
	OpPromote  Op = "promote"  // the standby becomes the primary
	OpResolve  Op = "resolve"  // prepared transactions are ended by rule, or listed
	OpReroute  Op = "reroute"  // clients are isolated, held, pointed elsewhere, let go
	OpFollow   Op = "follow"   // the archive follows the new primary
	OpRejoin   Op = "rejoin"   // the old primary becomes a standby
	// OpReconcile brings stores together that took writes on both sides.
	OpReconcile Op = "reconcile"
	// OpMerge gives each of two vaults what only the other has.
	OpMerge   Op = "merge"
	OpWarm    Op = "warm"    // a cache is rebuilt
	OpManual  Op = "manual"  // people do it and say so
	OpExec    Op = "exec"    // a program of the platform's own
	OpHTTP    Op = "http"    // a call of the platform's own
	OpNotify  Op = "notify"  // people are told
	OpInclude Op = "include" // the steps of another plan

	// OpSection stands for all steps of one section in an outline: see Outline.Folded.
	OpSection Op = "section"
)

// Asks reports whether people end the step, and not a program.
func (o Op) Asks() bool { return o == OpApprove || o == OpManual }

// Fixed reports whether nobody may skip a step: without it the next one would
// rest on nothing.
func (o Op) Fixed() bool {
	switch o {
	case OpApprove, OpFence, OpDrain, OpPromote, OpRestore, OpSection:
		return true
	}

	return false
}

// Behaviour is what becomes of a step in a mode.
type Behaviour string

// The behaviours.
const (
	RunIt    Behaviour = ""         // it is done; "run" is the same
	Skip     Behaviour = "skip"     // it is not part of this mode
	Rehearse Behaviour = "rehearse" // it shows that it could be done, and changes nothing
	Ask      Behaviour = "ask"      // people say whether it is done
)

// Consequence is what follows when a step has failed for good.
type Consequence string

// The consequences.
const (
	// Stop stops what needs the step, and nothing else.
	Stop Consequence = ""
	// Abort is that of a critical step. Before the point of no return nothing new
	// begins, and what was begun is undone, the last first. Behind it people are asked.
	Abort Consequence = "abort"
	// AskPeople asks on both sides of the point of no return.
	AskPeople Consequence = "ask"
	// GoOn is that of a step which is not critical: what needs it goes on.
	GoOn Consequence = "go-on"
)

// Retry is how often a step is tried.
type Retry struct {
	// Attempts includes the first; 0 means 1.
	Attempts int `json:"attempts,omitempty"`
	// Backoff is the first pause; every next one is twice as long, up to Longest.
	Backoff time.Duration `json:"backoff_ns,omitempty"`
	Longest time.Duration `json:"longest_ns,omitempty"`
}

// Pause is how long to wait after so many failed attempts, from 1 on.
func (r Retry) Pause(failed int) time.Duration {
	d := r.Backoff

	for i := 1; i < failed && d < time.Hour; i++ {
		d *= 2
	}

	if r.Longest > 0 {
		d = min(d, r.Longest)
	}

	return max(d, 0)
}

// Undo is how what a step did is taken back. The empty one is the action's own
// way, which a program, a call and people do not have.
type Undo struct {
	Exec   *Exec   `json:"exec,omitempty"`
	HTTP   *HTTP   `json:"http,omitempty"`
	Manual *Manual `json:"manual,omitempty"`
}

// Args are what an action is told. At most one of them is set: that of the
// step's operation. An action that needs none takes the defaults.
type Args struct {
	Precheck *Precheck `json:"precheck,omitempty"`
	Approve  *Approve  `json:"approve,omitempty"`
	Fence    *Fence    `json:"fence,omitempty"`
	Drain    *Drain    `json:"drain,omitempty"`
	Feed     *Feed     `json:"feed,omitempty"`
	Resolve  *Resolve  `json:"resolve,omitempty"`
	Reroute  *Reroute  `json:"reroute,omitempty"`
	Rejoin   *Rejoin   `json:"rejoin,omitempty"`
	Warm     *Warm     `json:"warm,omitempty"`
	Manual   *Manual   `json:"manual,omitempty"`
	Exec     *Exec     `json:"exec,omitempty"`
	HTTP     *HTTP     `json:"http,omitempty"`
	Notify   *Notify   `json:"notify,omitempty"`
	Include  *Include  `json:"include,omitempty"`
}

// Precheck names a condition.
type Precheck struct {
	// Check is one of the conditions below.
	Check string `json:"check"`
	// Within bounds it: the lag of a standby, the age of a vault's newest log, the
	// length of a transaction.
	Within time.Duration `json:"within_ns,omitempty"`
}

// The conditions of a precheck.
const (
	CheckReady   = "ready"   // the standby streams; both sides are made ready (checkpoint, open connections)
	CheckStandby = "standby" // the standby is there and knows the old primary's history
	CheckVault   = "vault"   // the vault of the region that takes over can be read
	CheckRoutes  = "routes"  // every route can be read and could be changed
	CheckMoment  = "moment"  // a moment of the whole group is proven; the vault leads every shard there
	CheckPlace   = "place"   // a shard can be laid down where its standby is, which can be moved aside
	BindMoment   = "bind"    // the newest of those moments is what the run goes to from here on
	CheckVerify  = "plan"    // this plan has passed a drill
)

// Approve says whose decision is wanted.
type Approve struct {
	// People is how many different ones have to agree; 0 means 1.
	People int `json:"people,omitempty"`
	// Roles are those whose word counts; empty means every approver's.
	Roles []string `json:"roles,omitempty"`
}

// The ways to prove that an old primary is silent.
const (
	ByStop      = "stopped"   // it was stopped cleanly, by us
	ByGuard     = "guard"     // its guard could not renew the lease and has let go
	ByHook      = "hook"      // power or network was taken away, and the hook said so
	ByStatement = "statement" // a person signs that it is
)

// Fence says how silence may be proven, in the order in which it is tried.
type Fence struct {
	By   []string `json:"by"`
	Hook *Exec    `json:"hook,omitempty"`
}

// NoHook begins the reason of a fence that only a person can stand for.
const NoHook = "no program of this platform takes the power or the network from"

// Vouched reports whether a person's word will do.
func (f *Fence) Vouched() bool {
	if f == nil {
		return false
	}

	for _, by := range f.By {
		if by == ByStatement {
			return true
		}
	}

	return false
}

// Drain waits until the standby holds the silent primary's log to its very end.
type Drain struct {
	Poll time.Duration `json:"poll_ns,omitempty"` // 0 means 1 ms
}

// Feed takes what only the vault has, up to an end that is proven.
type Feed struct {
	Vault string `json:"vault"` // region whose vault is read
}

// The rules of Resolve.
const (
	ResolveByGroup = "group" // committed anywhere, then everywhere; else rolled back
	ResolveList    = "list"  // nothing is ended; all are listed
)

// Resolve says what becomes of transactions that are prepared.
type Resolve struct {
	Rule string `json:"rule"`
}

// The moves of a route.
const (
	RouteHold    = "hold"    // clients wait, and see no error
	RouteIsolate = "isolate" // clients reach nobody, whoever comes back
	RouteSwitch  = "switch"  // it points to the region that takes over
	RouteRelease = "release" // clients go on
)

// Reroute moves a route.
type Reroute struct {
	Route string `json:"route"`
	Move  string `json:"move"`
}

// The ways back to a standby.
const (
	RejoinAsIs    = "as-is"   // the histories allow it
	RejoinRewind  = "rewind"  // pg_rewind, after the tail was saved
	RejoinRebuild = "rebuild" // from the vault
)

// Rejoin says how an old primary may come back, in the order in which it is
// tried. The part of its log that no vault has is saved before it is touched.
type Rejoin struct {
	By []string `json:"by"`
}

// Warm rebuilds a cache.
type Warm struct {
	Exec *Exec `json:"exec,omitempty"`
	HTTP *HTTP `json:"http,omitempty"`
}

// Manual is done by people, who say when it is.
type Manual struct {
	Text string `json:"text"`
}

// Exec is a program with its arguments; it is run without a shell.
type Exec struct {
	Command []string `json:"command"`
}

// HTTP is a call. Any status of 200 to 299 is success.
type HTTP struct {
	Method string `json:"method,omitempty"` // "" means POST
	URL    string `json:"url"`
}

// Notify tells people.
type Notify struct {
	Text string   `json:"text"`
	To   []string `json:"to,omitempty"` // empty means everybody who is told of this group
}

// Include names a plan whose steps stand here.
type Include struct {
	Plan string `json:"plan"`
}
