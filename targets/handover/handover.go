package handover

import (
	"context"
	"fmt"
	"time"

	"drctl/targets"
)

// Switcher is the part of a driver that moves the primary of a shard.
type Switcher interface {
	// Switch takes one shard in hand. It connects to nothing yet: every step of what
	// it gives out connects as it needs, also in a process that took over from one
	// that died.
	Switch(req Request) (Switch, error)
	// Rejoin makes the old primary a standby of the new one and waits until it
	// streams. It may be repeated. Conflict: the old one runs and is writable.
	// Unverified: it has to be rebuilt from a base, and why.
	Rejoin(ctx context.Context, req RejoinRequest) (Rejoined, error)
}

// NeedsBase is in the error of a Rejoin that only a base can help.
type NeedsBase struct {
	// Empty says that its directory is empty, or only holds what a rebuild left that
	// broke off.
	Empty bool
	Why   error
}

// Error says why.
func (n NeedsBase) Error() string { return n.Why.Error() }

// Unwrap is the reason.
func (n NeedsBase) Unwrap() error { return n.Why }

// Rebuilder is the part of a driver that lays an instance down from a vault as a standby.
type Rebuilder interface {
	// LayDown writes the base and the log up to a point into the empty directory of the
	// instance, and starts nothing: Rejoin lets it follow its primary. It may be
	// repeated. Conflict: something else is in the directory. The settings are those
	// of the base's server, with the instance's port; what is found is for people.
	LayDown(ctx context.Context, in targets.Instance, req targets.RestoreRequest, from targets.Source) ([]targets.Finding, error)
}

// LaidDown is the file that LayDown leaves in a directory, until it follows its primary.
const LaidDown = "drctl_laid_down"

// Feeder is the part of a driver that gives a standby log which a vault has beyond
// what it got, before it is promoted.
type Feeder interface {
	// Feed returns once the standby has replayed the log to its proven end. It may be
	// repeated. An error means that nothing of the end is known: no promotion may
	// take it for "there is no more".
	Feed(ctx context.Context, req FeedRequest) (targets.Position, error)
}

// Asking is the part of a driver whose standbys and new primaries can be asked for more
// than a probe tells.
type Asking interface{ Asker() Asker }

// Asker asks instances.
type Asker interface {
	// Place says where a standby stands by what it got and keeps, on the timeline that
	// it follows now. A probe's place may be on an older one.
	Place(ctx context.Context, in targets.Instance) (targets.Position, error)
	// Heard says how far its primary had come, as the standby was told beyond what it got.
	// Not-found: it hears of no primary now, which says nothing of how far that one was.
	Heard(ctx context.Context, standby targets.Instance) (Heard, error)
	// Left says where the line that a standby follows has left older timelines, the oldest first.
	Left(ctx context.Context, standby targets.Instance) ([]targets.Position, error)
}

// Request says what is switched, from where and to where.
type Request struct {
	Old, New targets.Instance
	// Others are the shard's further instances.
	Others []targets.Instance
	// Epoch is the number of the promotion: proofs of silence name it.
	Epoch uint64
	// Host is how the server of the old primary is stopped and started. Without
	// commands it is done by hand, in Old.DataDir.
	Host HostCommands
	// MaxLag is how far behind the new side may be before, in bytes of log; 0: 16 MiB.
	MaxLag uint64
	// MaxTransaction is for how long a transaction on the old side may have been
	// open; 0: ten seconds. It would be ended.
	MaxTransaction time.Duration
	// Lease is how long the old side's writers wait at most, whoever dies (Redis);
	// 0: ten seconds.
	Lease time.Duration
	// Progress may be nil.
	Progress targets.Progress
}

// HostCommands stop and start a server that a worker cannot signal itself, such as a
// service's. Each is a program and its arguments, and returns when it is done.
type HostCommands struct{ Stop, Start []string }

// Switch is one shard's hands. Its steps go in the order written here. Each may be
// repeated, in another process too: it finds out what was done. Each ends with its
// context at the latest, and is safe to be given up at any place: what it leaves is
// one writable server, or none and an Undo. It is used by one goroutine at a time.
type Switch interface {
	// Prepare does all that can be done while writers go on. Conflict, stalled:
	// it would not go well, and nothing was changed.
	Prepare(ctx context.Context) (Prepared, error)
	// Drain waits until the new side has what the old one had when it was called.
	// The caller keeps writers waiting, or (Redis) the driver does for the lease.
	Drain(ctx context.Context) (targets.Position, error)
	// Stop makes the old side unable to write, for good, and shows that the new one
	// holds exactly its last record. Unverified when it does not: Undo is due.
	Stop(ctx context.Context) (Stopped, error)
	// Promote makes the new side writable. Without proof that every other instance
	// of the shard is silent it is denied.
	Promote(ctx context.Context, req PromoteRequest) (Promoted, error)
	// Probe writes to the new side and reads it again.
	Probe(ctx context.Context) error
	// Release lets writers go that the driver still keeps waiting.
	Release(ctx context.Context) error
	// Undo makes the old side writable again. Conflict once the new one is promoted.
	// Begun says that Promote may have been called, by whoever keeps the journal: then
	// the new side itself has to say that it was not promoted.
	Undo(ctx context.Context, begun bool) error
	// Close ends the connections. It may be repeated.
	Close()
}

// Prepared is what a preparation saw and did.
type Prepared struct {
	At  targets.Position `json:"at"`        // of the old side
	Lag uint64           `json:"lag_bytes"` // of the new side
	// Warnings say what will cost time, or is not as it should be.
	Warnings []string `json:"warnings,omitempty"`
}

// Stopped is the end of the old side's log.
type Stopped struct {
	// At is behind its last record, which the new side holds: the new side's log
	// goes on from here. Last is where that record begins (PostgreSQL: the shutdown
	// checkpoint).
	At   targets.Position `json:"at"`
	Last uint64           `json:"last"`
	// History is the file kept with At's timeline (PostgreSQL); nil for the first.
	History []byte `json:"history,omitempty"`
	// Silence is the proof that the old side cannot write.
	Silence Silence `json:"silence"`
}

// SilenceKind is how it is known that an instance cannot write.
type SilenceKind string

// The kinds of proof.
const (
	SilentStopped   SilenceKind = "stopped"   // drctl stopped it, cleanly, and its log has ended
	SilentDemoted   SilenceKind = "demoted"   // it has become a replica
	SilentHook      SilenceKind = "hook"      // a fencing hook succeeded
	SilentLease     SilenceKind = "lease"     // its guard's lease ran out
	SilentStatement SilenceKind = "statement" // a person has signed for it
	SilentStandby   SilenceKind = "standby"   // it is a standby, which nobody promotes
)

// Silence is the proof that one instance of a shard cannot write.
type Silence struct {
	// Instance is its String.
	Instance string      `json:"instance"`
	Kind     SilenceKind `json:"kind"`
	// Epoch is the promotion that it was made for.
	Epoch uint64 `json:"epoch"`
	// By says who or what made it: a run, a hook, a person.
	By string `json:"by,omitempty"`
	// Detail is what was seen.
	Detail string `json:"detail,omitempty"`
}

// CheckSilence is nil when each instance has a proof of silence for the epoch.
func CheckSilence(epoch uint64, of []targets.Instance, proofs []Silence) error {
	for _, in := range of {
		if !silent(epoch, in.String(), proofs) {
			return fmt.Errorf("nothing proves for epoch %d that %s cannot write", epoch, in)
		}
	}

	return nil
}

func silent(epoch uint64, instance string, proofs []Silence) bool {
	for _, p := range proofs {
		if p.Instance != instance || p.Epoch != epoch {
			continue
		}

		switch p.Kind {
		case SilentStopped, SilentDemoted, SilentHook, SilentLease, SilentStatement, SilentStandby:
			return true
		}
	}

	return false
}

// PromoteRequest is what a promotion needs to be allowed.
type PromoteRequest struct {
	Silence []Silence
	// Line is a place of the old primary's log that was known last. The new side has
	// to be on this line: it may be late, never on another branch.
	Line targets.Position
	// History is the file kept with Line's timeline (PostgreSQL); nil for the first.
	History []byte
	// Exact refuses a new side that does not stand at the very place.
	Exact bool
	// LaidDown says that the new side was laid down from a vault, up to this place, and was
	// started as a primary; zero when it was a standby.
	LaidDown targets.Position
}

// Promoted is what became of the new side.
type Promoted struct {
	// Fork is where the new side left the old one's timeline; Begins is the same
	// place on the new timeline.
	Fork   targets.Position `json:"fork"`
	Begins targets.Position `json:"begins"`
	// Again says that it had been promoted before, in the same way.
	Again bool `json:"again,omitempty"`
}

// RejoinRequest says which server follows which.
type RejoinRequest struct {
	Old, New targets.Instance
	Host     HostCommands
	// RestoreCommand fetches log that the new side no longer has, for pg_rewind and
	// the start after it; may be "".
	RestoreCommand string
	// MayRewind allows the old side's own log behind the fork to be undone.
	MayRewind bool
	// Tail takes what no vault has of that log before anything is rewound; without it
	// nothing that a vault lacks is rewound.
	Tail Tail
	// Lost is told what the old side has alone, before anything is rewound; nothing is
	// when it fails. It may be nil.
	Lost     func(ctx context.Context, what Loss) error
	Progress targets.Progress
}

// Rejoined is how a server became a standby.
type Rejoined struct {
	// Method is "as it was", "rewind" or "partial" and "full" resync (Redis).
	Method string
	// Kept are the parts of its log that were saved before they were undone.
	Kept []targets.Span
	// Warnings say what was left for a person.
	Warnings []string
}

// FeedRequest gives a standby log that a vault has beyond what it replayed.
type FeedRequest struct {
	Standby targets.Instance
	// To is the proven end of the old primary's log. A log that ends before it is an
	// error, whatever the archive says of what comes next.
	To targets.Position
	// Path leads from the standby's place to To: the spans of the archive's timelines.
	Path     []targets.Span
	Log      targets.Source
	Progress targets.Progress
}
