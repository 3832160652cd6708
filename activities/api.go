package activities

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/restore/plan"
	"drctl/targets"
)

// The names under which activities are registered. Histories hold them, so a
// name never changes its meaning.
const (
	FollowShardName   = "FollowShard"
	QuiesceCutName    = "FenceCut"
	SnapshotName      = "SnapshotObjects"
	SealCutName       = "SealCut"
	AbandonCutName    = "AbandonCut"
	ShareCutsName     = "ShareCuts"
	TakeBaseName      = "TakeBase"
	CopyVaultName     = "CopyVault"
	PlanRestoreName   = "PlanRestore"
	OpenSandboxName   = "OpenSandbox"
	CheckSpaceName    = "CheckSpace"
	KeepSandboxName   = "KeepSandbox"
	CloseSandboxName  = "CloseSandbox"
	RestoreShardName  = "RestoreShard"
	VerifyShardName   = "VerifyShard"
	PickDrillName     = "PickDrill"
	CrossCheckName    = "CrossCheck"
	FinishDrillName   = "FinishDrill"
	CheckVaultName    = "CheckVault"
	RetainName        = "Retain"
	DescribeGroupName = "DescribeGroup"
)

// ShardIn names a shard.
type ShardIn struct {
	Shard targets.ShardID `json:"shard"`
}

// FollowIn names the shard to follow.
type FollowIn struct {
	Shard targets.ShardID `json:"shard"`
	// BaseAsked says that the caller knows of the interruption and has asked
	// for a base, or for the copies.
	BaseAsked bool `json:"base_asked,omitempty"`
}

// FollowOut says why following ended before its time.
type FollowOut struct {
	Group string `json:"group"` // that the shard belongs to
	// Break, when set, says where the log is interrupted, or what the newest base
	// lacks: only a base taken from now on leads to what is archived behind it.
	Break string `json:"break,omitempty"`
	// Copies bring a base that leads there into the vaults that have none.
	Copies []CopyIn `json:"copies,omitempty"`
}

// GroupIn names a group.
type GroupIn struct {
	Group string `json:"group"`
}

// CutIn carries a cut between the steps that make it.
type CutIn struct {
	Cut    targets.Cut `json:"cut"`
	Reason string      `json:"reason,omitempty"`
}

// SnapshotIn asks for an object snapshot.
type SnapshotIn struct {
	Shard targets.ShardID `json:"shard"`
	AsOf  time.Time       `json:"as_of"`
	// Anywhere takes it into the vaults that answer although the policy asks
	// for more of them. A cut needs as many as the policy asks for.
	Anywhere bool `json:"anywhere,omitempty"`
}

// SnapshotOut is a finished snapshot and the regions whose vaults hold it whole.
type SnapshotOut struct {
	Position targets.Position      `json:"position"`
	Stats    targets.SnapshotStats `json:"stats"`
	Vaults   []string              `json:"vaults"`
	// Warnings say what the snapshot lacks.
	Warnings []string `json:"warnings,omitempty"`
}

// BaseIn asks for a base; the id makes a repeat recognisable.
type BaseIn struct {
	Shard targets.ShardID `json:"shard"`
	ID    string          `json:"id"`
	Full  bool            `json:"full"`
}

// BaseOut is a base and the region of the vault that it was taken into.
type BaseOut struct {
	Base  targets.Artifact `json:"base"`
	Vault string           `json:"vault"`
	// Away are the regions whose vaults did not answer.
	Away []string `json:"away,omitempty"`
	// Missed are the regions whose vaults hold a base that Vault lacks: it was
	// taken while Vault was away.
	Missed []string `json:"missed,omitempty"`
}

// CopyIn asks for a shard's vault content to be copied to another region.
type CopyIn struct {
	Shard    targets.ShardID `json:"shard"`
	From, To string
}

// PlanIn asks for a plan.
type PlanIn struct {
	Goal plan.Goal `json:"goal"`
	Now  time.Time `json:"now"`
}

// SandboxIn asks for a sandbox; the id makes a repeat find the first one.
type SandboxIn struct {
	ID      string `json:"id"`
	Purpose string `json:"purpose"`
}

// SandboxRef names a sandbox and the queue of the one host that has it.
type SandboxRef struct {
	ID    string `json:"id"`
	Dir   string `json:"dir"`
	Queue string `json:"queue"`
}

// check refuses a reference that names no directory of a sandbox; the zero value
// is none. That the directory is a sandbox is for sandbox.Open to say.
func (r SandboxRef) check() error {
	if r == (SandboxRef{}) {
		return nil
	}
	err := targets.CheckPath("directory", r.Dir)
	if err == nil && (filepath.Base(r.Dir) != r.ID || !targets.IsName(r.ID)) {
		err = fmt.Errorf("the directory %.80q is not that of sandbox %.80q", r.Dir, r.ID)
	}
	if err != nil {
		return fail.New(fail.Invalid, "sandbox: open", r.ID, "", err)
	}
	return nil
}

// SpaceIn asks whether a plan fits into a sandbox.
type SpaceIn struct {
	Sandbox SandboxRef `json:"sandbox"`
	// Need is what the plan will write, in bytes, as far as it is known.
	Need int64 `json:"need"`
	// Uncounted are shards whose size the plan does not know.
	Uncounted []string `json:"uncounted,omitempty"`
}

// KeepIn asks that a sandbox be left until an instant; the zero time sets no end.
type KeepIn struct {
	Sandbox SandboxRef `json:"sandbox"`
	Until   time.Time  `json:"until,omitzero"`
}

// StepIn is one plan step with its surroundings.
type StepIn struct {
	PlanID  string     `json:"plan_id"`
	Vault   string     `json:"vault"`
	Delta   bool       `json:"delta,omitempty"`
	Step    plan.Step  `json:"step"`
	Sandbox SandboxRef `json:"sandbox,omitzero"`
	// Quick and Assertions are for verification.
	Quick      bool                `json:"quick,omitempty"`
	Assertions []targets.Assertion `json:"assertions,omitempty"`
}

// CheckIn asks for a vault to be verified.
type CheckIn struct {
	Region string `json:"region"`
	Group  string `json:"group"`
	// ReadData is how much of the base data is read: "n/t" is one part of t, of
	// which repeats take one after the other; "" is none.
	ReadData string `json:"read_data"`
}

// CheckOut is the outcome of a vault's verification, and its report in the vaults.
type CheckOut struct {
	Group    string            `json:"group"`
	Region   string            `json:"region"`
	Started  time.Time         `json:"started"`
	ReadData string            `json:"read_data"`
	Findings []targets.Finding `json:"findings"` // an activity returns the first of them, the worst first
	Checks   int               `json:"checks"`   // findings in all
	Failed   int               `json:"failed"`
	Took     time.Duration     `json:"took_ns"`
}

// String says what was found wrong: "vault of east: 2 of 40 checks failed, the
// first: orders/0@east: stream".
func (c CheckOut) String() string {
	s := fmt.Sprintf("vault of %s: %d of %d checks failed", c.Region, c.Failed, c.Checks)
	if i := slices.IndexFunc(c.Findings, func(f targets.Finding) bool { return f.Severity == targets.Failed }); i >= 0 {
		s += fmt.Sprintf(", the first: %s: %s", c.Findings[i].Subject, c.Findings[i].Check)
	}
	return s
}

// Beat is the progress that an activity reports with its heartbeat.
type Beat struct {
	Shard  string  `json:"shard,omitempty"`
	Phase  string  `json:"phase"`
	Done   int64   `json:"done"`
	Total  int64   `json:"total,omitempty"`
	Detail string  `json:"detail,omitempty"`
	Offset uint64  `json:"offset,omitempty"`
	Lag    float64 `json:"lag_seconds,omitempty"`
	// Trouble is what hinders the work that goes on; may be empty.
	Trouble string `json:"trouble,omitempty"`
	// Attempt outlives an activity whose worker died.
	Attempt int `json:"attempt,omitempty"`
	// Moved is when phase or count last changed.
	Moved time.Time `json:"moved,omitzero"`
	// Failing is since when a log could not be followed; zero when it is, or
	// when this is the first attempt.
	Failing time.Time `json:"failing,omitzero"`
	// Taken is a base whose data is stored and which waits for its stream: the
	// next attempt goes on there.
	Taken *TakenBase `json:"taken,omitempty"`
}

// TakenBase is a base that has no record yet, and the region of the vault that
// its data was stored in first.
type TakenBase struct {
	Base  targets.Artifact `json:"base"`
	Vault string           `json:"vault"`
}
