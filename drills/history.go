package drills

import (
	"context"
	"slices"

	"drctl/internal/fail"
	"drctl/internal/report/evidence"
	"drctl/internal/vault"
)

// CancelledText is what the record of a drill that somebody cancelled says of its
// check RanToItsEnd.
const CancelledText = "the drill was cancelled"

// RanToItsEnd is the check that fails when a drill as a whole was ended.
const RanToItsEnd = "the drill ran to its end"

// Cancelled reports whether a drill was cancelled: its record says nothing of
// whether a recovery works.
func Cancelled(r evidence.Record) bool {
	return !r.Verdict.Passed && slices.ContainsFunc(r.Checks, func(c evidence.Check) bool {
		return c.Name == RanToItsEnd && c.Detail == CancelledText
	})
}

// Last is what a vault's records say of one drill.
type Last struct {
	// Verdict is the newest record of a drill that was not cancelled; its ID is ""
	// when there is none.
	Verdict evidence.Record
	// Cancelled is the newest that was, when it is newer.
	Cancelled evidence.Record
}

// History reads the newest records of every drill in a vault, by the drill's
// name. Records that are damaged are left out and returned as errors.
func History(ctx context.Context, v *vault.Vault) (last map[string]Last, damaged []error, err error) {
	ids, err := v.Reports(ctx, "drill")
	if err != nil {
		return nil, nil, err
	}

	last = map[string]Last{}
	for _, id := range ids {
		var rec evidence.Record
		if err := v.Report(ctx, "drill", id, &rec); fail.Is(err, fail.Corrupt) {
			damaged = append(damaged, err)
			continue
		} else if err != nil {
			return nil, nil, err
		}

		l := last[rec.Name]
		switch {
		case Cancelled(rec):
			if rec.Started.After(l.Cancelled.Started) && rec.Started.After(l.Verdict.Started) {
				l.Cancelled = rec
			}
		case rec.Started.After(l.Verdict.Started):
			l.Verdict = rec
			if l.Cancelled.Started.Before(rec.Started) {
				l.Cancelled = evidence.Record{}
			}
		}
		last[rec.Name] = l
	}

	return last, damaged, nil
}
