package activities

import (
	"time"

	"drctl/internal/platform"
	"drctl/internal/sandbox"
	"drctl/internal/upkeep"
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
	// Here takes it where it is asked for, whatever host the primary is on.
	Here bool `json:"here,omitempty"`
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
	// At is where the primary's data directory is, when that is another host; nothing
	// was taken then.
	At platform.Place `json:"at,omitzero"`
}

// CopyIn asks for a shard's vault content to be copied to another region.
type CopyIn struct {
	Shard    targets.ShardID `json:"shard"`
	From, To string
}

// SandboxIn asks for a sandbox; the id makes a repeat find the first one.
type SandboxIn struct {
	ID      string `json:"id"`
	Purpose string `json:"purpose"`
}

// SandboxRef names a sandbox and the queue of the one host that has it.
type SandboxRef = sandbox.Ref

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

// StepIn names one plan step with its surroundings.
type StepIn struct {
	Run     plan.Carried `json:"run"`
	StepID  string       `json:"step_id"`
	Sandbox SandboxRef   `json:"sandbox,omitzero"`
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
	// Remove makes a retention remove this one base instead of following the policy.
	Remove *Removal `json:"remove,omitempty"`
}

// Removal asks for one base to be removed.
type Removal = upkeep.Removal

// CheckOut is the outcome of a check with its first findings, the worst first.
type CheckOut = upkeep.Check

// RetainOut is the outcome of a retention with the first of each of its lists.
type RetainOut = upkeep.Retention
