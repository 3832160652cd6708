package targets

import (
	"context"
	"io"
	"time"
)

// Driver teaches drctl one kind of store. Every call names its instance, so
// no handle outlives an activity and any worker may serve any call; every
// call may be repeated. Errors are *fail.Error and name the instance.
type Driver interface {
	Kind() Kind
	// Probe reports role, lag, version, size and reachability. An unreachable
	// server is an error of code unavailable (denied for a refused login).
	Probe(ctx context.Context, in Instance) (Status, error)
	// Reach is Probe for those who ask again and again: it leaves out what takes
	// the longer the more data there is, the size with what measuring tells.
	Reach(ctx context.Context, in Instance) (Status, error)
	// Base takes a full image into the sink and returns its record, which the
	// caller stores last: a base without a record does not exist.
	Base(ctx context.Context, in Instance, req BaseRequest, to Sink) (Artifact, error)
	// Restore lays the shard down and brings it to the point. It refuses a
	// running or non-empty instance with code conflict.
	Restore(ctx context.Context, in Instance, req RestoreRequest, from Source) (Outcome, error)
	// Verify checks a running instance against expectations. Failed checks are
	// findings; an error means that the checking itself could not be done.
	Verify(ctx context.Context, in Instance, want Expectation) ([]Finding, error)
}

// Fitter is the part of a driver that can say, before anything is restored,
// whether the programs of this host can restore a base.
type Fitter interface {
	// Fits is nil when they can, or when the base's record does not say of what
	// version it is; else an error, mostly of code unsupported, that says what
	// to install.
	Fits(ctx context.Context, base Artifact) error
}

// Adviser is the part of a driver that knows how an operator checks an instance
// which a restore left stopped, before it is used.
type Adviser interface {
	// Advise says what to run, and when: before the server is started, or after.
	Advise(in Instance) string
}

// Quiescer is the part of a driver that joins a cut.
type Quiescer interface {
	// Join does everything that can be done before writers are stopped:
	// connects to the instance directly, checks that it is writable, refuses
	// with code stalled when a write transaction older than the budget or a
	// vacuum would block the lock.
	Join(ctx context.Context, in Instance, req JoinRequest) (Member, error)
}

// JoinRequest is what a barrier asks of a member.
type JoinRequest struct {
	CutID string
	Group string
	// Lease is how long the server lets a silent barrier live: past it the
	// server itself ends the transaction and with it every lock.
	Lease time.Duration
	// Budget is the longest time one attempt may stall writers.
	Budget time.Duration
	// Gate asks this member to be able to hold the group's gate.
	Gate bool
	// GateOnly says that it does nothing else: no table is locked and no position
	// named, and no privileges are needed for either.
	GateOnly bool
	// LeaveOut lets a member do without the tables that maintenance holds (VACUUM,
	// CREATE INDEX CONCURRENTLY): their writers are not stopped, and its warnings say so.
	LeaveOut bool
}

// Member is one shard inside one barrier. It is used by one goroutine at a time.
type Member interface {
	// LockGate takes the group's gate exclusively within wait; stalled when it
	// is not granted. Only for the member joined with Gate.
	LockGate(ctx context.Context, wait time.Duration) error
	// Lock stops writers within wait, or fails with stalled and leaves nothing
	// locked on this member but the gate. It may be tried again. A no-op where
	// nothing is to lock.
	Lock(ctx context.Context, wait time.Duration) error
	// Unlock lets go of what Lock took, so that writers get through, and keeps
	// the gate. A no-op where nothing is locked.
	Unlock(ctx context.Context) error
	// Mark names the position. Called only while every member is locked.
	Mark(ctx context.Context) (Position, error)
	// Release lets go of every lock, the gate too. It may be repeated.
	Release(ctx context.Context) error
	// Settle runs after every member has released: it makes the mark durable
	// on the server, so that it reaches the stream without waiting for traffic.
	// It fails when the session that named the mark is gone: the server may have
	// crashed and lost it. A no-op where the mark is the place in the log itself.
	Settle(ctx context.Context) error
	// Close ends the connection, and with it whatever the server still held.
	Close()
}

// GateWatcher is a Member that can see who uses the gate. It is asked before the gate is,
// and keeps nobody waiting.
type GateWatcher interface {
	GateUse(ctx context.Context) (GateUse, error)
}

// Warner is a Member that has something to say of the position that it named,
// in words that name no secret. It is asked after Settle.
type Warner interface{ Warnings() []string }

// Follower is the part of a driver that streams a shard's own log.
type Follower interface {
	// Follow sends the log to the archive from where the archive ends until
	// ctx ends or the log cannot go on. It acknowledges to the server only
	// what archive.Durable reports. It returns ctx's error after a clean stop.
	Follow(ctx context.Context, in Instance, archive Archive) error
}

// Archive receives one shard's log. Implemented by the archiver.
type Archive interface {
	// Tail is the newest archived position; ok is false when nothing is.
	Tail() (at Position, ok bool)
	// Begin opens a timeline at an offset. Beginning a timeline that exists, at
	// or before its tail, resumes it. Parent is the position where it left
	// another timeline; zero when it left none. History is a file to keep with
	// it (PostgreSQL: the timeline history file), or nil.
	Begin(ctx context.Context, timeline string, offset uint64, parent Position, history []byte) error
	// Write appends bytes that begin at offset. Bytes that the archive has
	// already are dropped; a hole is an error of code corrupt. It blocks while
	// too many bytes wait for the vaults: this is the back pressure. The
	// archive copies p.
	Write(ctx context.Context, offset uint64, p []byte) error
	// Durable is the offset up to which the timeline is safe in as many vaults
	// as the policy asks for, with all that came before it in older timelines; 0
	// while that is not so.
	Durable() uint64
	// Advanced is signalled (capacity 1) whenever Durable may have grown.
	Advanced() <-chan struct{}
	// Err is why the archive has given up (its vaults cannot be reached), or nil:
	// nothing that it holds becomes durable any more, and a follower returns it.
	Err() error
	// Base saves a full image that the protocol delivered on the way (a Redis
	// full resync) as the base at the given position.
	Base(ctx context.Context, at Position, image io.Reader, settings map[string]string) error
}

// Listener is an Archive that wants to know how its follower does.
type Listener interface {
	// Streaming says that the server has agreed to send its log from where the
	// archive ends. An idle one may send nothing for long.
	Streaming()
	// Hindered says what the follower cannot do beside archiving, such as to let
	// the server remove its log; nil when it can again.
	Hindered(err error)
}

// Streaming tells an archive that listens.
func Streaming(a Archive) {
	if l, ok := a.(Listener); ok {
		l.Streaming()
	}
}

// Hindered tells an archive that listens.
func Hindered(a Archive, err error) {
	if l, ok := a.(Listener); ok {
		l.Hindered(err)
	}
}

// Snapshotter is the part of a driver whose store has no log but objects.
type Snapshotter interface {
	// Snapshot records every object as of the instant, storing what the vault
	// does not have, and returns the position with Manifest set. Progress, which
	// may be nil, gets the counts so far; calls are cheap and may be frequent.
	Snapshot(ctx context.Context, in Instance, asOf time.Time, to ObjectSink, progress func(SnapshotStats)) (Position, SnapshotStats, error)
}

// SnapshotStats counts what a snapshot did.
type SnapshotStats struct {
	Objects          int64 `json:"objects"` // in the snapshot
	Bytes            int64 `json:"bytes"`
	NewObjects       int64 `json:"new_objects"` // moved
	NewBytes         int64 `json:"new_bytes"`
	ReusedObjects    int64 `json:"reused_objects"`
	DeletedSinceLast int64 `json:"deleted_since_last"`
	Failed           int64 `json:"failed"`
	// Unnamed counts the objects that are not in the snapshot because the server
	// does not give their keys, and UnnamedKeys are some of them as it shows them.
	Unnamed     int64    `json:"unnamed,omitempty"`
	UnnamedKeys []string `json:"unnamed_keys,omitempty"`
}

// BaseRequest asks for a base.
type BaseRequest struct {
	ID       string
	Full     bool // read every byte again instead of trusting size and time
	Progress Progress
}

// Progress is called with bytes done and in total (total 0 when unknown) in a
// named phase. Calls are cheap and may be frequent. May be nil.
type Progress func(phase string, done, total int64)

// Report calls p unless it is nil.
func (p Progress) Report(phase string, done, total int64) {
	if p != nil {
		p(phase, done, total)
	}
}

// RestoreRequest asks for a shard at a point.
type RestoreRequest struct {
	Base  Artifact
	Point Position
	// Path is the chain of timelines from the base to the point, oldest first.
	Path []Span
	// Until, for an instant instead of a position; zero when Point is exact.
	// PostgreSQL stops before the first commit later than it. When Point names a
	// restore point, that is one of a cut taken after the instant, and may be
	// reached instead; otherwise Point is where the archive ends, and a replay
	// that meets no later commit fails with not-found.
	Until time.Time
	// InDoubt says what becomes of the transactions that are prepared at Point, and
	// InDoubtSince from when on it is whole: see ShardPoint. Each is told in the
	// outcome, and each that is prepared and not listed.
	InDoubt      []InDoubt
	InDoubtSince time.Time
	// WorkDir is scratch space on the volume of the instance's DataDir.
	WorkDir string
	// Delta allows an existing directory of the same shard to be rewritten in place.
	Delta    bool
	Progress Progress
}

// Span is a part [From, To) of one timeline.
type Span struct {
	Timeline string `json:"lineage"`
	From     uint64 `json:"from"`
	To       uint64 `json:"to"`
}

// Outcome is what a restore did.
type Outcome struct {
	Reached Position                 `json:"reached"`
	Bytes   int64                    `json:"bytes"`
	Phases  map[string]time.Duration `json:"phases_ns"`
	Pid     int                      `json:"pid,omitempty"`
	// Address, User, Password and Database reach a sandbox server that was left
	// running; the password never crosses a process boundary.
	Address  string `json:"address,omitempty"`
	User     string `json:"user,omitempty"`
	Password Secret `json:"-"`
	Database string `json:"database,omitempty"`
	// Findings are what a person must know of the restored instance before it is
	// used for good.
	Findings []Finding `json:"findings,omitempty"`
}

// Expectation is what a verification checks.
type Expectation struct {
	// Quick leaves out checks that read every byte.
	Quick      bool
	Assertions []Assertion
	// Instant says that the instance was restored to an instant rather than to a
	// cut: nothing was taken then, and transactions may have been in flight.
	Instant bool
	// InDoubt and InDoubtSince are those of the restore.
	InDoubt      []InDoubt
	InDoubtSince time.Time
	// DataDir is where the checks that read files look; "" is the directory of the instance.
	DataDir string
	// Manifest opens the object manifest to compare with (S3).
	Manifest func(ctx context.Context) (io.ReadCloser, error)
	Progress Progress
}

// Assertion is a configured check: a query and what it must return.
type Assertion struct {
	Name string `json:"name"`
	// Query is SQL (PostgreSQL) or a Redis command line.
	Query string `json:"query"`
	// Want is the expected first column of the first row: as text, or after an
	// operator (=, !=, <, <=, >, >=) as an exact number. Package assert judges.
	Want string `json:"want"`
}

// Sink takes a base. Implemented by the vault; every call may be repeated.
type Sink interface {
	// SaveTree backs up a directory.
	SaveTree(ctx context.Context, req TreeRequest) (Saved, error)
	// SaveStream saves bytes of unknown length under a file name. A reader
	// that fails leaves no snapshot.
	SaveStream(ctx context.Context, name string, r io.Reader, p Progress) (Saved, error)
	// SaveFile keeps a small file beside the base and returns its SHA-256 in hex.
	SaveFile(ctx context.Context, base, name string, content []byte) (string, error)
}

// TreeRequest is what SaveTree backs up.
type TreeRequest struct {
	Dir     string   // absolute
	Exclude []string // absolute paths or restic patterns
	Full    bool     // read every file again
	// Vanishing files are expected: a file that disappears between listing and
	// reading is not an error (PostgreSQL drops files during a backup).
	Vanishing bool
	Progress  Progress
}

// Saved is what a sink stored.
type Saved struct {
	Snapshot   string
	Path       string // of the tree or file inside the snapshot
	Bytes      int64
	BytesAdded int64
	Files      int64
}

// ClaimFile is the file in a directory that is being restored by which the
// restore knows it again. Whoever empties the directory, or makes another in
// its place, ends the claim.
const ClaimFile = "drctl.restoring"

// Source gives back what a vault holds of one shard.
type Source interface {
	// RestoreTree writes the snapshot's path to dir (which becomes its root).
	// With delta, files that are equal already are left, others go; a ClaimFile
	// stays.
	RestoreTree(ctx context.Context, a Artifact, dir string, delta bool, p Progress) error
	// OpenStream reads a file saved by SaveStream.
	OpenStream(ctx context.Context, a Artifact) (io.ReadCloser, error)
	// File reads a file saved by SaveFile and checks it against the artifact.
	File(ctx context.Context, a Artifact, name string) ([]byte, error)
	// Log reads bytes of a timeline, every byte checked, prefetching in
	// parallel. A missing chunk is an error of code not-found that names the range.
	Log(ctx context.Context, span Span) (io.ReadCloser, error)
	// History returns the file kept with the timeline, or nil.
	History(ctx context.Context, timeline string) ([]byte, error)
	ObjectSource
}

// ObjectSink stores objects once under their content.
type ObjectSink interface {
	// HasObject reports whether the content is stored in every vault that keeps
	// up, bringing up those that lack it.
	HasObject(ctx context.Context, sha256 string) (bool, error)
	// PutObject stores content whose SHA-256 is not known before, and returns
	// it in hex with the size. It reads r once and writes every vault that keeps up.
	PutObject(ctx context.Context, r io.Reader) (sha256 string, size int64, err error)
	// PutManifest stores a finished manifest, which names only objects that
	// HasObject confirmed or PutObject stored, and returns its SHA-256 in hex.
	// AsOf is the instant whose state it holds; it is kept beside the content.
	PutManifest(ctx context.Context, asOf time.Time, r io.Reader) (string, error)
	// LastManifest opens the newest manifest, or returns nil without error
	// when there is none.
	LastManifest(ctx context.Context) (io.ReadCloser, error)
}

// ObjectSource gives objects back.
type ObjectSource interface {
	// Object opens stored content; reading to the end checks it.
	Object(ctx context.Context, sha256 string) (io.ReadCloser, error)
	// Manifest opens a stored manifest; reading to the end checks it.
	Manifest(ctx context.Context, sha256 string) (io.ReadCloser, error)
}
