package evidence

import (
	"time"

	"drctl/targets"
)

// Version names the shape of a record. It changes whenever a reader of the old
// shape could misread the new one.
const Version = "drctl.evidence/1"

// Shorthands for the values that may be missing.
type (
	// Text is a text that may not have been recorded.
	Text = Maybe[string]
	// Instant is a time that may not have been recorded.
	Instant = Maybe[time.Time]
	// Span is a duration that may not have been measured.
	Span = Maybe[time.Duration]
	// Number is a count that may not have been recorded.
	Number = Maybe[int64]
)

// The kinds of records: what a restore drill leaves, and what a game day leaves.
const (
	RestoreDrill = "restore-drill"
	GameDay      = "game-day"
)

// Record is the evidence of one rehearsal.
type Record struct {
	// Schema is the version of the record's shape.
	Schema string `json:"schema"`
	// ID names the report; it sorts by time.
	ID string `json:"id"`
	// Kind is what was recorded: "restore-drill" or "game-day".
	Kind string `json:"kind"`
	// Name is the drill's name in the configuration.
	Name string `json:"name"`
	// GeneratedAt is when the record was put together.
	GeneratedAt time.Time `json:"generated_at"`
	// Started and Finished bound the drill, clean-up included.
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`

	Tool    Tool    `json:"tool"`
	Clock   Clock   `json:"clock"`
	Plan    Plan    `json:"plan"`
	Scope   Scope   `json:"scope"`
	Test    Test    `json:"test"`
	Verdict Verdict `json:"verdict"`

	// Scenario is what is supposed to have happened, and why it is severe but plausible.
	Scenario Text `json:"scenario"`
	// Hypothesis is what the drill was expected to show.
	Hypothesis Text `json:"hypothesis"`
	// Participants took part; empty for a drill that ran by itself.
	Participants []Participant `json:"participants"`
	// Absent names experts who should have taken part and did not.
	Absent Text `json:"experts_absent"`
	// Decisions were taken by people or by rule; empty when none were.
	Decisions []Decision `json:"decisions"`
	// Prechecks were evaluated before the drill was allowed to run or to pass.
	Prechecks []Precheck `json:"gates"`

	RecoveryPoint RecoveryPoint `json:"recovery_point"`
	// Sample says how the recovery point was chosen.
	Sample Sample `json:"sample"`
	// Objectives are the limits; Measured is what was measured against them.
	Objectives Objectives `json:"objectives"`
	Measured   Measured   `json:"measured"`
	// Steps are the log, steps that did not run included.
	Steps []Step `json:"steps"`
	// Checks are everything that was compared.
	Checks []Check `json:"checks"`
	// Isolation is how far it is known that production was not touched.
	Isolation Isolation `json:"isolation"`
	CleanUp   CleanUp   `json:"clean_up"`
	// Findings are what has to be followed up.
	Findings []Issue `json:"findings"`
	Posture  Posture `json:"backup_posture"`
	// Attachments are files that belong to the record, by hash.
	Attachments []Attachment `json:"attachments"`
	// GameDay is what a game day did beyond; absent of a restore drill.
	GameDay *GameDayPart `json:"game_day,omitempty"`

	// ContentSHA256 is the hash of the canonical JSON of the record without
	// this member and without "review".
	ContentSHA256 string `json:"content_sha256"`
	// Review is filled in by people afterwards, so the hash leaves it out.
	Review Review `json:"review"`
}

// Tool is the program that made the record.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Commit  Text   `json:"commit"`
}

// Clock says where the record's times come from.
type Clock struct {
	// Source names the clock: "system clock of the worker host db-drill-1".
	Source string `json:"source"`
	// Synchronised says by what the clock was disciplined, when that is known.
	Synchronised Text `json:"synchronised"`
}

// Plan is the recovery plan that was run.
type Plan struct {
	ID string `json:"id"`
	// SHA256 is the hash of the plan's content.
	SHA256     string  `json:"sha256"`
	Version    Text    `json:"version"`
	Approver   Text    `json:"approver"`
	ApprovedAt Instant `json:"approved_at"`
}

// Scope is what took part, and what did not and why.
type Scope struct {
	Group string `json:"group"`
	// Vault is the region whose vault alone was read.
	Vault      string      `json:"vault"`
	Systems    []System    `json:"systems"`
	Exclusions []Exclusion `json:"exclusions"`
}

// System is one shard that took part.
type System struct {
	Shard  string `json:"shard"`
	Kind   string `json:"kind"`
	Region string `json:"source_region"`
}

// Exclusion is something left out, with the reason.
type Exclusion struct {
	What   string `json:"what"`
	Reason string `json:"reason"`
}

// Test is what kind of test it was and what set it off.
type Test struct {
	// Type is "restore into a sandbox".
	Type string `json:"type"`
	// Trigger is "schedule", "manual", "change" or "incident".
	Trigger  string  `json:"trigger"`
	By       Text    `json:"triggered_by"`
	Previous Instant `json:"previous"`
	NextDue  Instant `json:"next_due"`
}

// Participant is somebody who took part.
type Participant struct {
	Name string `json:"name"`
	Role Text   `json:"role"`
}

// Decision is a choice with the one who made it.
type Decision struct {
	At     time.Time `json:"at"`
	What   string    `json:"what"` // "declared", "go", "no-go", "override"
	By     Text      `json:"by"`
	Reason Text      `json:"reason"`
}

// Precheck is a condition that had to hold for the drill to go on.
type Precheck struct {
	Name   string    `json:"name"`
	At     time.Time `json:"at"`
	Passed bool      `json:"passed"`
	Detail string    `json:"detail"`
}

// Verdict is what the drill comes to. Failures are complete sentences that
// name the check, the subject or the objective.
type Verdict struct {
	Passed   bool     `json:"passed"`
	Failures []string `json:"failures"`
	Warnings []string `json:"warnings"`
}

// RecoveryPoint is what was recovered to.
type RecoveryPoint struct {
	CutID      string    `json:"cut_id"`
	Mode       string    `json:"fence_mode"`
	QuiescedAt time.Time `json:"fenced_at"`
	ReleasedAt time.Time `json:"released_at"`
	SealedAt   time.Time `json:"sealed_at"`
	SealedIn   []string  `json:"sealed_in"`
	// Attempts and Stall are what the barrier cost the platform.
	Attempts int           `json:"fence_attempts"`
	Stall    time.Duration `json:"fence_stall_ns"`
	// Location is the vault's address and KeyID the public name of its key.
	Location    Text         `json:"location"`
	KeyID       Text         `json:"key_id"`
	LockedUntil Instant      `json:"locked_until"`
	Shards      []ShardPoint `json:"shards"`
}

// ShardPoint is one shard's position in the cut and the position reached.
type ShardPoint struct {
	Shard  string `json:"shard"`
	Kind   string `json:"kind"`
	Region string `json:"source_region"`
	// Instance is the server on which the position was taken.
	Instance string `json:"source_instance"`
	// Position is in the store's own words: "0/1A2B3C8", "offset 812", an instant.
	Position string `json:"position"`
	// SystemID, Timeline, LSN and RestorePoint belong to PostgreSQL.
	SystemID     string `json:"system_id,omitempty"`
	Timeline     uint32 `json:"timeline,omitempty"`
	LSN          string `json:"lsn,omitempty"`
	RestorePoint string `json:"restore_point,omitempty"`
	// ReplicationID and Offset belong to Redis. The offset is a decimal text,
	// because JSON numbers lose precision above 2^53.
	ReplicationID string `json:"replication_id,omitempty"`
	Offset        string `json:"offset,omitempty"`
	// AsOf and Manifest belong to object stores.
	AsOf     time.Time `json:"as_of,omitempty,omitzero"`
	Manifest string    `json:"manifest_sha256,omitempty"`
	// Base is the image from which the shard was brought to the point.
	Base       Text    `json:"base"`
	BaseTaken  Instant `json:"base_taken"`
	Reached    Text    `json:"reached"`
	BytesMoved Number  `json:"bytes_restored"`
}

// Sample says from how many points, by which method and seed one was chosen.
type Sample struct {
	// Population is the number of recovery points that could have been chosen.
	Population int `json:"population"`
	// PopulationSHA256 is the hash of their ids, sorted, each followed by LF.
	PopulationSHA256 string `json:"population_sha256"`
	// Method says how, precisely enough to repeat the draw by hand.
	Method string `json:"method"`
	// Seed is what the draw was made with, as decimal text; "0" where none is used.
	Seed string `json:"seed"`
	// From and To bound the window; zero where there is none.
	From time.Time `json:"from,omitempty,omitzero"`
	To   time.Time `json:"to,omitempty,omitzero"`
	// Next is when the next cut after the chosen one was sealed; zero for the newest.
	Next time.Time `json:"next_sealed_at,omitempty,omitzero"`
}

// Objectives are promised limits; zero sets none.
type Objectives struct {
	RTO time.Duration `json:"rto_ns"`
	RPO time.Duration `json:"rpo_ns"`
}

// Measured is what was measured, and how.
type Measured struct {
	// RTO runs from the order to recover to the end of the last verification.
	RTO       Span   `json:"rto_ns"`
	RTOMethod string `json:"rto_method"`
	// Phases are wall clock times; they overlap where shards go in parallel,
	// so their sum may exceed the RTO.
	Phases []Phase `json:"phases"`
	// RPO is the worst of all stores.
	RPO       Span       `json:"rpo_ns"`
	RPOMethod string     `json:"rpo_method"`
	Stores    []StoreRPO `json:"stores"`
	// Lost counts rows, keys and objects that an independent journal knows and
	// the recovered stores do not.
	Lost Number `json:"lost"`
	// Incomplete are the steps that failed or never ran.
	Incomplete []string `json:"incomplete"`
}

// Phase is one part of the way back: detect, decide, restore, verify, cut over.
type Phase struct {
	Name     string    `json:"name"`
	Started  time.Time `json:"started,omitempty,omitzero"`
	Finished time.Time `json:"finished,omitempty,omitzero"`
	Took     Span      `json:"took_ns"`
}

// StoreRPO is the data loss of one shard.
type StoreRPO struct {
	Shard string `json:"shard"`
	// RecoveredTo is the instant before which everything acknowledged is there.
	RecoveredTo time.Time `json:"recovered_to"`
	// Reference is the instant up to which data could have been written.
	Reference time.Time     `json:"reference"`
	Loss      time.Duration `json:"loss_ns"`
}

// Outcomes of a step.
const (
	StepDone   = "done"
	StepFailed = "failed"
	StepNotRun = "not-run"
)

// Step is one line of the step log.
type Step struct {
	ID string `json:"id"`
	// Phase is detect, decide, prepare, restore, verify, cut-over or clean-up.
	Phase         string  `json:"phase"`
	Shard         string  `json:"shard,omitempty"`
	Actor         string  `json:"actor"` // worker or person
	PlannedStart  Instant `json:"planned_start"`
	PlannedFinish Instant `json:"planned_finish"`
	Started       Instant `json:"started"`
	Finished      Instant `json:"finished"`
	Attempts      int     `json:"attempts"` // 0: it did not run, or no worker is known to have taken it
	Outcome       string  `json:"outcome"`
	InputSHA256   Text    `json:"input_sha256"`
	OutputSHA256  Text    `json:"output_sha256"`
	Error         string  `json:"error,omitempty"`
	NotRunReason  string  `json:"not_run_reason,omitempty"`
}

// Check is one comparison.
type Check struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	// QuerySHA256 is the hash of the query's text, where there is one.
	QuerySHA256 string `json:"query_sha256,omitempty"`
	Expected    string `json:"expected"`
	Got         string `json:"got"`
	// Verdict is passed, warned, failed or skipped.
	Verdict string        `json:"verdict"`
	Detail  string        `json:"detail,omitempty"`
	Took    time.Duration `json:"took_ns"`
}

// NetworkNotIsolated is what is known of a sandbox's network.
const NetworkNotIsolated = "not isolated: the servers of the sandbox share the network of its host, and no packet was watched"

// Isolation is how far it is known that production was not touched.
type Isolation struct {
	SandboxID string   `json:"sandbox_id"`
	Directory string   `json:"directory"`
	Addresses []string `json:"addresses"`
	// ProductionTouched lists production instances whose address or directory is
	// that of a restored one.
	ProductionTouched []string `json:"production_touched"`
	// Proven is true when every statement of Basis was checked and held.
	Proven bool `json:"proven"`
	// Basis are the statements on which that rests. None is about the network.
	Basis []string `json:"basis"`
	// Network says whether the sandbox's network was isolated; empty in records
	// from before it was told.
	Network string `json:"network"`
}

// CleanUp is what was removed and what is still there.
type CleanUp struct {
	RemovedAt Instant  `json:"removed_at"`
	LeftOver  []string `json:"left_over"`
}

// Severities of an issue.
const (
	Critical = "critical"
	Major    = "major"
	Minor    = "minor"
)

// Issue is something to be followed up. Owner, due date and closing evidence
// are for people to fill in.
type Issue struct {
	ID       string  `json:"id"`
	Severity string  `json:"severity"`
	Title    string  `json:"title"`
	Owner    Text    `json:"owner"`
	Due      Instant `json:"due"`
	Closed   Text    `json:"closing_evidence"`
}

// Posture is how the recovered data is protected.
type Posture struct {
	Coverage  Text `json:"coverage"`
	Frequency Text `json:"frequency"`
	Retention Text `json:"retention"`
	// Encryption names the scheme, Copies the vaults, Lock what keeps them from deletion.
	Encryption Text `json:"encryption"`
	Copies     Text `json:"copies"`
	Lock       Text `json:"lock"`
}

// Attachment is a file that belongs to the record.
type Attachment struct {
	Name      string `json:"name"`
	MediaType string `json:"media_type"`
	Bytes     int64  `json:"bytes"`
	SHA256    string `json:"sha256"`
}

// Review is the sign-off; all of it is empty until a person fills it in.
type Review struct {
	Name      string `json:"name"`
	Role      string `json:"role"`
	Time      string `json:"time"`
	Signature string `json:"signature"`
	Comment   string `json:"comment"`
	// SignsSHA256 repeats the content hash that the reviewer saw.
	SignsSHA256 string `json:"signs_sha256"`
}

// Names of a check's verdicts, as in targets.Severity.
var severities = []string{string(targets.Passed), string(targets.Warned), string(targets.Failed), string(targets.Skipped)}

// GameDayPart is what was broken on the servers themselves, and how the recovery went.
type GameDayPart struct {
	// Run is the mode of the recovery that was run, or "none".
	Run string `json:"run"`
	// Definition is the SHA-256 of the drill as it was configured.
	Definition string `json:"definition_sha256"`
	// Red is the check that had to go off; "" when none had to.
	Red string `json:"red,omitempty"`
	// Recovery names the run; From and To are its regions and Outcome is how it ended.
	Recovery string `json:"recovery,omitempty"`
	From     string `json:"from,omitempty"`
	To       string `json:"to,omitempty"`
	Outcome  string `json:"outcome,omitempty"`
	// Outage is how long no write was possible, by the recovery's own journal.
	Outage Span `json:"outage_ns"`
	// Proofs say how it is known that the old side was silent.
	Proofs []string `json:"proofs"`
	// Loss is the failover's own statement, a line for each shard.
	Loss []string `json:"loss"`
	// Approvals are the people who approved.
	Approvals []string `json:"approvals"`
	Faults    []Fault  `json:"faults"`
}

// Fault is something that was planted.
type Fault struct {
	ID   string `json:"id"`
	What string `json:"what"`
	// Intended is when the intent was on record, before anything was touched.
	Intended Instant `json:"intended"`
	Planted  Instant `json:"planted"`
	Removed  Instant `json:"removed"`
	Said     string  `json:"said,omitempty"`
}
