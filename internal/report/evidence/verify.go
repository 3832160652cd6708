package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"drctl/internal/fail"
)

// Finalize normalises the record (UTC, no nil lists), sets its content hash and
// returns it with its JSON, indented for people. It refuses a record that
// contradicts itself with code internal, because only a defect makes one.
func Finalize(r Record) (Record, []byte, error) {
	r.normalise()

	r.ContentSHA256 = ""
	if err := r.consistent(); err != nil {
		return r, nil, fail.New(fail.Internal, "evidence: finalize", r.ID, "", err)
	}

	b, err := marshal(r)
	if err == nil {
		r.ContentSHA256, _, err = contentHash(b)
	}

	if err == nil {
		b, err = marshal(r)
	}

	if err == nil {
		// What is returned is what a reader will see.
		r, err = Verify(b)
	}

	if err != nil {
		return r, nil, fail.New(fail.Internal, "evidence: finalize", r.ID, "", err)
	}

	return r, b, nil
}

func marshal(r Record) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(r)

	return b.Bytes(), err
}

// Verify recomputes the content hash of a record's JSON, however it is
// indented or its members ordered. Errors: corrupt when the hash differs or
// the record contradicts itself, invalid when it is not such a record,
// unsupported when its shape is of another version.
func Verify(doc []byte) (Record, error) {
	const op = "evidence: verify"
	var r Record

	sum, claimed, err := contentHash(doc)
	if err != nil {
		return r, fail.New(fail.Invalid, op, "record", "", err)
	}

	var head struct {
		Schema string `json:"schema"`
		ID     string `json:"id"`
	}
	if err := json.Unmarshal(doc, &head); err != nil {
		return r, fail.New(fail.Invalid, op, "record", "", err)
	}

	subject := "record " + head.ID
	if head.Schema != Version {
		return r, fail.New(fail.Unsupported, op, subject, "use the version of drctl that wrote it, or a later one",
			fmt.Errorf("schema is %q, this program reads %q", head.Schema, Version))
	}

	if claimed != sum {
		return r, fail.New(fail.Corrupt, op, subject, "compare it with another copy: the record was changed after it was written",
			fmt.Errorf("content hash is %s, the record claims %q", sum, claimed))
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	// A member that this program does not know is a difference that a reader
	// would not see.
	d.DisallowUnknownFields()

	if err := d.Decode(&r); err != nil {
		return r, fail.New(fail.Invalid, op, subject, "", err)
	}

	if err := r.consistent(); err != nil {
		return r, fail.New(fail.Corrupt, op, subject, "", err)
	}

	return r, nil
}

// consistent finds what no honest record can say.
func (r Record) consistent() error {
	var errs []error
	add := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	add(r.Schema != Version, "schema is %q", r.Schema)
	add(r.ID == "", "the record has no id")
	add(r.Finished.Before(r.Started), "it finished before it started")
	add(r.Verdict.Passed && len(r.Verdict.Failures) > 0, "it passed with %d failures", len(r.Verdict.Failures))
	add(!r.Verdict.Passed && len(r.Verdict.Failures) == 0, "it failed without saying why")

	for _, c := range r.Checks {
		add(!slices.Contains(severities, c.Verdict), "check %q has the verdict %q", c.Name, c.Verdict)
		add(r.Verdict.Passed && c.Verdict == "failed", "it passed although check %q on %s failed", c.Name, c.Subject)
	}

	for _, s := range r.Steps {
		add(s.Outcome != StepDone && s.Outcome != StepFailed && s.Outcome != StepNotRun, "step %s has the outcome %q", s.ID, s.Outcome)
		from, ok1 := s.Started.Get()
		to, ok2 := s.Finished.Get()
		add(ok1 && ok2 && to.Before(from), "step %s finished before it started", s.ID)
	}

	add(r.Isolation.Proven && len(r.Isolation.ProductionTouched) > 0, "isolation is claimed although production was touched")

	return errors.Join(errs...)
}

// normalise makes equal records equal bytes: UTC without a monotonic clock,
// and lists that are never null.
func (r *Record) normalise() {
	for _, t := range []*time.Time{&r.GeneratedAt, &r.Started, &r.Finished, &r.RecoveryPoint.QuiescedAt,
		&r.RecoveryPoint.ReleasedAt, &r.RecoveryPoint.SealedAt, &r.Sample.From, &r.Sample.To, &r.Sample.Next} {
		*t = utc(*t)
	}

	for _, m := range []*Instant{&r.Plan.ApprovedAt, &r.Test.Previous, &r.Test.NextDue, &r.RecoveryPoint.LockedUntil, &r.CleanUp.RemovedAt} {
		m.utc()
	}
	// The lists are copied, so that the caller's are left alone.
	r.Decisions, r.Prechecks = list(r.Decisions), list(r.Prechecks)
	for i := range r.Decisions {
		r.Decisions[i].At = utc(r.Decisions[i].At)
	}

	for i := range r.Prechecks {
		r.Prechecks[i].At = utc(r.Prechecks[i].At)
	}

	r.RecoveryPoint.Shards = list(r.RecoveryPoint.Shards)
	for i := range r.RecoveryPoint.Shards {
		p := &r.RecoveryPoint.Shards[i]
		p.AsOf = utc(p.AsOf)
		p.BaseTaken.utc()
	}

	r.Measured.Phases, r.Measured.Stores = list(r.Measured.Phases), list(r.Measured.Stores)
	for i := range r.Measured.Phases {
		p := &r.Measured.Phases[i]
		p.Started, p.Finished = utc(p.Started), utc(p.Finished)
	}

	for i := range r.Measured.Stores {
		p := &r.Measured.Stores[i]
		p.RecoveredTo, p.Reference = utc(p.RecoveredTo), utc(p.Reference)
	}

	r.Steps = list(r.Steps)
	for i := range r.Steps {
		for _, m := range []*Instant{&r.Steps[i].PlannedStart, &r.Steps[i].PlannedFinish, &r.Steps[i].Started, &r.Steps[i].Finished} {
			m.utc()
		}
	}

	if g := r.GameDay; g != nil {
		own := *g
		own.Proofs, own.Loss, own.Approvals, own.Faults = list(g.Proofs), list(g.Loss), list(g.Approvals), list(g.Faults)
		r.GameDay = &own

		for i := range own.Faults {
			for _, m := range []*Instant{&own.Faults[i].Intended, &own.Faults[i].Planted, &own.Faults[i].Removed} {
				m.utc()
			}
		}
	}

	r.Findings = list(r.Findings)
	for i := range r.Findings {
		r.Findings[i].Due.utc()
	}
	r.Participants, r.Checks, r.Attachments = list(r.Participants), list(r.Checks), list(r.Attachments)

	r.Scope.Systems, r.Scope.Exclusions = list(r.Scope.Systems), list(r.Scope.Exclusions)
	for _, l := range []*[]string{&r.Verdict.Failures, &r.Verdict.Warnings, &r.RecoveryPoint.SealedIn, &r.Measured.Incomplete,
		&r.Isolation.Addresses, &r.Isolation.ProductionTouched, &r.Isolation.Basis, &r.CleanUp.LeftOver} {
		*l = list(*l)
	}
}

func utc(t time.Time) time.Time { return t.UTC().Round(0) }

func (m *Maybe[T]) utc() {
	if t, ok := any(m.Value).(*time.Time); ok && t != nil {
		u, _ := any(utc(*t)).(T)
		m.Value = &u
	}
}

func list[T any](l []T) []T { return append([]T{}, l...) }

// Attach describes a file that belongs to the record.
func Attach(name, mediaType string, content []byte) Attachment {
	h := sha256.Sum256(content)
	return Attachment{Name: name, MediaType: mediaType, Bytes: int64(len(content)), SHA256: hex.EncodeToString(h[:])}
}

// VerifyAs is Verify for a record that somebody named by its id and content hash:
// any other, however whole it is in itself, is fail.Corrupt.
func VerifyAs(doc []byte, id, sha256 string) (Record, error) {
	r, err := Verify(doc)
	if err == nil && (r.ID != id || r.ContentSHA256 != sha256) {
		err = fail.New(fail.Corrupt, "evidence: verify", "record "+id, "take it from another vault", fmt.Errorf("another record lies under its name: %s with hash %s", r.ID, r.ContentSHA256))
	}

	return r, err
}
