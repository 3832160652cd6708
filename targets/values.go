package targets

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Kind is a kind of store.
type Kind string

// The kinds that drctl knows.
const (
	Postgres Kind = "postgres"
	Redis    Kind = "redis"
	S3       Kind = "s3"
)

// ShardID names one part of a target: one PostgreSQL cluster, one Redis
// master, one bucket. It is written "target/shard".
type ShardID struct {
	Target string `json:"target"`
	Shard  string `json:"shard"`
}

// String renders "target/shard".
func (s ShardID) String() string { return s.Target + "/" + s.Shard }

// Compare orders shards by target, then by shard: numerically when both
// shard names are numbers, else as text.
func (s ShardID) Compare(o ShardID) int {
	if c := strings.Compare(s.Target, o.Target); c != 0 {
		return c
	}
	a, errA := strconv.Atoi(s.Shard)

	b, errB := strconv.Atoi(o.Shard)
	if errA == nil && errB == nil {
		return cmp.Compare(a, b)
	}

	return strings.Compare(s.Shard, o.Shard)
}

// ParseShardID reads "target/shard".
func ParseShardID(s string) (ShardID, error) {
	t, sh, ok := strings.Cut(s, "/")
	if !ok || t == "" || sh == "" || strings.Contains(sh, "/") {
		return ShardID{}, fmt.Errorf("%q is not of the form target/shard", s)
	}

	return ShardID{Target: t, Shard: sh}, nil
}

// Role is what an instance is for its shard.
type Role string

// The roles.
const (
	Primary Role = "primary"
	Standby Role = "standby"
	Sandbox Role = "sandbox"
)

// Secret is a value that never prints: every formatting, JSON and log form is
// a fixed text. Only Reveal gives the content.
//
// The value is behind a pointer because fmt calls no method of a field that is
// not exported, and follows no pointer in one.
type Secret struct{ value *string }

// NewSecret wraps a value.
func NewSecret(v string) Secret {
	if v == "" {
		return Secret{}
	}

	return Secret{&v}
}

// Reveal returns the secret itself; call it only where it is handed to a server.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}

	return *s.value
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.value == nil }

const redacted = "[redacted]"

// String returns a fixed text, whatever the content.
func (s Secret) String() string { return redacted }

// GoString returns a fixed text, so that %#v does not leak.
func (s Secret) GoString() string { return redacted }

// Format prints a fixed text for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText returns a fixed text, so that JSON, YAML and slog do not leak.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Instance is a shard's copy in one region and all that is needed to reach
// it. It holds secrets, so it never crosses a workflow boundary: only its
// ShardID and Region do, and the worker resolves them again.
type Instance struct {
	Kind   Kind
	Shard  ShardID
	Region string
	Role   Role

	// Address is host:port, or for S3 the endpoint's URL.
	Address  string
	User     string // PostgreSQL or Redis user, or S3 access key id
	Password Secret // PostgreSQL or Redis password, or S3 secret access key
	// Database is the PostgreSQL database that holds the group's tables, or
	// the name of the bucket.
	Database string
	// TLS is "disable", "require" or "verify-full" ("" is "disable").
	TLS    string
	CAFile string

	// DataDir is where this worker can read the server's data directory
	// (PostgreSQL) or where a restore lays down files; "" when out of reach.
	DataDir string
	// Host is where the server runs and DataDir lies, for work that only a worker there
	// can do; "" is wherever a worker of the region is.
	Host string
	// Renamed maps a Redis command, in lower case, to the name that the server
	// knows it by (rename-command).
	Renamed map[string]string
	// Prefix limits an S3 shard to the keys that begin with it.
	Prefix string
	// Tables are the PostgreSQL tables that a barrier locks, schema-qualified;
	// empty means every ordinary and partitioned table outside the system schemas.
	Tables []string
}

// String names the instance without secrets: "orders/2@east (127.0.0.1:5433)".
func (i Instance) String() string {
	s := i.Shard.String()
	if i.Region != "" {
		s += "@" + i.Region
	}

	if i.Address != "" {
		s += " (" + i.Address + ")"
	}

	return s
}

// Position is where a shard's own log stands. Kind says which fields count.
type Position struct {
	Kind Kind `json:"kind"`
	// Timeline names one unbroken run of offsets: "<system id>-<timeline as 8
	// hex digits>" (PostgreSQL) or the replication id (Redis); empty for S3.
	Timeline string `json:"lineage,omitempty"`
	// Offset is the number of bytes of the timeline before the position: an LSN
	// (PostgreSQL) or a replication offset (Redis). Everything in [0, Offset)
	// is before the position, nothing after it is.
	Offset uint64 `json:"offset,omitempty"`
	// RestorePoint is the name given to pg_create_restore_point.
	RestorePoint string `json:"restore_point,omitempty"`
	// AsOf is the instant of an object store, by the coordinator's clock.
	AsOf time.Time `json:"as_of,omitzero"`
	// Manifest is the SHA-256 of the object manifest, known once sealed (S3).
	Manifest string `json:"manifest,omitempty"`
}

// FormatLSN renders a PostgreSQL position as the server does: "16/B374D848".
func FormatLSN(lsn uint64) string { return fmt.Sprintf("%X/%X", lsn>>32, uint32(lsn)) }

// ParseLSN reads "16/B374D848".
func ParseLSN(s string) (uint64, error) {
	h, l, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("%q is not an LSN", s)
	}

	hi, err := strconv.ParseUint(h, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not an LSN", s)
	}

	lo, err := strconv.ParseUint(l, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not an LSN", s)
	}

	return hi<<32 | lo, nil
}

// PostgresTimeline names a timeline of a cluster.
func PostgresTimeline(systemID string, tli uint32) string {
	return fmt.Sprintf("%s-%08X", systemID, tli)
}

// ParsePostgresTimeline is the inverse of PostgresTimeline.
func ParsePostgresTimeline(timeline string) (systemID string, tli uint32, err error) {
	sys, tl, ok := strings.Cut(timeline, "-")
	if !ok || sys == "" || len(tl) != 8 {
		return "", 0, fmt.Errorf("%q is not a PostgreSQL timeline", timeline)
	}

	n, err := strconv.ParseUint(tl, 16, 32)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not a PostgreSQL timeline", timeline)
	}

	return sys, uint32(n), nil
}

// BarrierMode is how a cut stops cross-shard writers.
type BarrierMode string

// The modes of the barrier.
const (
	Gate  BarrierMode = "gate"
	Share BarrierMode = "share"
	// FromLogs is no barrier: the cut was read out of the logs.
	FromLogs BarrierMode = "logs"
)

// BarrierTimings is what one cut cost, in nanoseconds of the coordinator's
// monotonic clock.
type BarrierTimings struct {
	Gate  time.Duration `json:"gate_ns"`  // waiting for the gate
	Lock  time.Duration `json:"lock_ns"`  // waiting for this shard's table locks, the last time
	Hold  time.Duration `json:"hold_ns"`  // from lock granted to lock released
	Total time.Duration `json:"total_ns"` // from the first request that can block a writer to the release
}

// ShardPoint is one shard's part of a cut.
type ShardPoint struct {
	Shard    ShardID        `json:"shard"`
	Kind     Kind           `json:"kind"`
	Region   string         `json:"region"`
	Instance string         `json:"instance"`
	Position Position       `json:"position"`
	Timings  BarrierTimings `json:"timings"`
	// Objects and Bytes count what the object snapshot holds, once it is taken (S3).
	Objects int64 `json:"objects,omitempty"`
	Bytes   int64 `json:"bytes,omitempty"`
	// Bases names, per region in whose vault the point could be recovered when the
	// cut was sealed, the base from which an unbroken log led there; none for
	// stores without a log, and in cuts of older versions.
	Bases map[string]string `json:"bases,omitempty"`
	// Warnings say what the point lacks, or how it was named.
	Warnings []string `json:"warnings,omitempty"`
	// Locked says what was locked, in a cut at a barrier.
	Locked *LockedTables `json:"locked,omitempty"`
	// InDoubt are the transactions that are prepared at the point (PostgreSQL), and
	// what a recovery to it does with them, where the cut was read out of the logs.
	InDoubt []InDoubt `json:"in_doubt,omitempty"`
	// InDoubtSince, by the server's clock, is from when on InDoubt is whole: what is
	// prepared at the point and not listed was prepared before. Zero where
	// nobody knows: InDoubt lists nothing then.
	InDoubtSince time.Time `json:"in_doubt_since,omitzero"`
}

// Cut is a named, consistent recovery point of a group: one position per shard.
type Cut struct {
	ID    string      `json:"id"`
	Group string      `json:"group"`
	Mode  BarrierMode `json:"mode"`
	// QuiescedAt is when the last lock had been granted; ReleasedAt is when the
	// first lock was let go. Every write acknowledged before QuiescedAt is
	// inside, every transaction begun after ReleasedAt is outside. UTC.
	QuiescedAt time.Time `json:"fenced_at"`
	ReleasedAt time.Time `json:"released_at"`
	Attempts   int       `json:"attempts"`
	// LockTries is how often the table locks were asked for in the successful
	// attempt: each time but the last they were let go of after a short wait.
	LockTries int           `json:"lock_tries,omitempty"`
	Stall     time.Duration `json:"stall_ns"` // longest time any writer can have waited in the successful attempt
	Shards    []ShardPoint  `json:"shards"`
	// Why says in words why it is of no better grade.
	Why []string `json:"why,omitempty"`
	// Without are the shards of the group that the cut lacks, and why.
	Without []Absent `json:"without,omitempty"`
	// Proof is how the cut was read out of the logs; nil for one that was taken by
	// locks at a barrier, also by older versions. QuiescedAt and ReleasedAt are both At then.
	Proof *CutProof `json:"proof,omitempty"`
	// Gate is what was seen of the gate's use; nil where it was not held for the cut, and in
	// records of older versions.
	Gate *GateUse `json:"gate,omitempty"`
	// Name is what a person called the moment; empty for most.
	Name string `json:"name,omitempty"`
	// SealedAt is when the cut could be recovered from as many vaults as the
	// policy asks for; zero before.
	SealedAt time.Time `json:"sealed_at,omitzero"`
	// SealedIn lists the regions from whose vaults it could be recovered then: a
	// base and an unbroken, durable stream of every shard led to it.
	SealedIn []string `json:"sealed_in,omitempty"`
	Tool     string   `json:"tool"` // version of drctl that took it
}

// GateUse is what was seen of the use of a gate just before it was held for a cut.
type GateUse struct {
	// Holders is how many other sessions held the gate or waited for it.
	Holders int `json:"holders"`
	// Unseen is how many cuts in a row have seen none, this one with them, as far as
	// the process that took them knows.
	Unseen int `json:"unseen,omitempty"`
	// Elsewhere are other databases of the server in which sessions held the gate's
	// key: that is another lock, which keeps nothing apart.
	Elsewhere []string `json:"elsewhere,omitempty"`
}

// gateUnseen is after how many cuts in a row that saw nobody use the gate that is doubtful. One that
// is held for a tenth of the time is not seen by so many once in two hundred times.
const gateUnseen = 50

// Doubt says in words why the gate may keep nothing apart; "" where nothing speaks for that.
func (u *GateUse) Doubt() string {
	switch {
	case u == nil:
		return ""
	case len(u.Elsewhere) > 0:
		return "the gate's key is held in another database (" + strings.Join(u.Elsewhere, ", ") + "), where it is another lock and keeps nothing apart"
	case u.Unseen >= gateUnseen:
		return fmt.Sprintf("at the last %d cuts nobody was seen to use the gate: with few cross-shard writers that may mean nothing", u.Unseen)
	}

	return ""
}

// Grade is the cut's; that of a barrier is locked.
func (c Cut) Grade() Grade {
	if c.Proof == nil {
		return Locked
	}

	return c.Proof.Grade
}

// Point returns the cut's point of a shard.
func (c Cut) Point(id ShardID) (ShardPoint, bool) {
	for i := range c.Shards { // without a copy of each
		if p := &c.Shards[i]; p.Shard == id {
			return *p, true
		}
	}

	return ShardPoint{}, false
}

// Artifact is a base: a full image of a shard from which its stream is replayed.
type Artifact struct {
	ID     string  `json:"id"`
	Shard  ShardID `json:"shard"`
	Kind   Kind    `json:"kind"`
	Region string  `json:"region"`
	// From is the first byte of the stream that a replay needs; Until is the
	// first position at which the image is consistent. They are equal for Redis.
	From  Position `json:"from"`
	Until Position `json:"until"`

	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// Snapshot is the restic snapshot id; Path is the folder or file inside it.
	Snapshot string `json:"snapshot"`
	Path     string `json:"path"`
	// Files are the small files kept beside the snapshot, name to SHA-256 of
	// the content (PostgreSQL: backup_label, tablespace_map, pg_control).
	Files map[string]string `json:"files,omitempty"`
	// Settings are the server's settings that a replay must match or exceed
	// (PostgreSQL: max_connections ...), with server_version_num and wal_segment_size.
	Settings map[string]string `json:"settings,omitempty"`
	// Tablespaces maps a tablespace oid to "<location>=<snapshot id>:<path in
	// it>": each is a snapshot of its own, tagged with the base's id.
	Tablespaces map[string]string `json:"tablespaces,omitempty"`
	Bytes       int64             `json:"bytes"`       // bytes read
	BytesAdded  int64             `json:"bytes_added"` // bytes new to the vault
	Method      string            `json:"method"`      // "files", "wire", "resync"
	Full        bool              `json:"full"`        // every byte was read again
	// SinceFull is how many bases there have been since the last that read every
	// byte, this one included; 0 for such a one. Retention does not change it.
	SinceFull int `json:"since_full,omitempty"`
}

// Status is what a probe saw.
type Status struct {
	Reachable bool     `json:"reachable"`
	Writable  bool     `json:"writable"` // a primary that accepts writes
	Role      Role     `json:"role"`
	Version   string   `json:"version"`
	Position  Position `json:"position"`
	// Parent is where the server left the timeline of the master that it was
	// promoted from (Redis); zero when it left none, and for other stores.
	Parent    Position      `json:"parent,omitzero"`
	Bytes     int64         `json:"bytes"`      // size of the data
	Lag       time.Duration `json:"lag_ns"`     // of a standby behind its primary
	Held      int64         `json:"held_bytes"` // log bytes the server keeps for drctl's slot or backlog
	HeldLimit int64         `json:"held_limit"` // beyond which it drops them; -1 unlimited, 0 unknown
	Warnings  []string      `json:"warnings,omitempty"`
	// Stopped is why a standby gets nothing of its primary; "" when it does, as far as is known.
	Stopped string `json:"stopped,omitempty"`
	// Tablespaces are those outside the data directory, oid to location.
	Tablespaces map[string]string `json:"tablespaces,omitempty"`
	Checked     time.Time         `json:"checked"`
}

// Severity grades a finding.
type Severity string

// The severities; a finding of Failed makes a verification fail.
const (
	Passed  Severity = "passed"
	Warned  Severity = "warned"
	Failed  Severity = "failed"
	Skipped Severity = "skipped"
)

// CheckReplicationOff is the check of a sandbox that shows that the restored
// server has no logical replication workers, so that it reads from no publisher.
const CheckReplicationOff = "logical replication is off"

// CheckPrepared is the check of findings of transactions in two phases.
const CheckPrepared = "prepared-transactions"

// Finding is the outcome of one check: what was expected and what was got.
type Finding struct {
	Check    string        `json:"check"`
	Subject  string        `json:"subject"`
	Severity Severity      `json:"severity"`
	Expected string        `json:"expected,omitempty"`
	Got      string        `json:"got,omitempty"`
	Detail   string        `json:"detail,omitempty"`
	Query    string        `json:"query_sha256,omitempty"` // SHA-256 of the query text
	Took     time.Duration `json:"took_ns,omitempty"`
}
