package forecast

import (
	"fmt"
	"strings"
	"time"
)

// Rehearsal is a drill, or a run on the real day, of a plan.
type Rehearsal struct {
	ID         string    `json:"id"`
	Definition string    `json:"definition"` // the plan's hash
	Passed     bool      `json:"passed"`
	At         time.Time `json:"at"`
	// Run says that it was one of the real day, and Open that nobody knows of its end.
	Run  bool `json:"run,omitempty"`
	Open bool `json:"open,omitempty"`
	// Why says why it did not pass.
	Why string `json:"why,omitempty"`
}

// name is how people call it.
func (r Rehearsal) name() string {
	if r.Run {
		return "run " + r.ID
	}

	return "drill " + r.ID
}

// Verification says whether a plan has been shown to work.
type Verification struct {
	Verified bool `json:"verified"`
	// By is the newest rehearsal of this very plan, and Until from when on it is too old.
	By string `json:"by,omitempty"`
	// At is when that ended; of one that is open, when it began.
	At    time.Time `json:"at,omitzero"`
	Until time.Time `json:"until,omitzero"`
	Why   string    `json:"why"`
}

// Verified judges a plan by its rehearsals: the newest of this very hash must have
// passed, no longer ago than lasts (0 means for ever). One that passed ahead of now
// is believed by nobody; one that failed there is.
func Verified(hash string, all []Rehearsal, now time.Time, lasts time.Duration) Verification {
	var newest, other Rehearsal

	for _, r := range all {
		switch {
		case r.At.After(now) && r.Passed: // a clock is wrong; that something failed is true all the same
		case r.Definition == hash && !r.At.Before(newest.At):
			newest = r
		case r.Definition != hash && r.Passed && !r.At.Before(other.At):
			other = r
		}
	}

	v := Verification{By: newest.ID, At: newest.At}
	if lasts > 0 && newest.ID != "" {
		v.Until = newest.At.Add(lasts)
	}

	switch {
	case newest.ID == "" && other.ID != "":
		v.Why = fmt.Sprintf("it was edited since %s passed: an edited plan is unverified", other.name())
	case newest.ID == "":
		v.Why = "no drill of it has passed"
	case newest.Open:
		v.Why = fmt.Sprintf("%s of it has begun, and no vault knows that it ended", newest.name())
	case !newest.Passed:
		v.Why = strings.TrimSuffix(fmt.Sprintf("its newest %s failed: %s", newest.name(), newest.Why), ": ")
	case lasts > 0 && now.After(v.Until):
		v.Why = fmt.Sprintf("%s passed too long ago: it counted until %s", newest.name(), v.Until.UTC().Format(time.DateOnly))
	default:
		v.Verified, v.Why = true, newest.name()+" passed"
	}

	return v
}

// String says it in one line, for people.
func (v Verification) String() string {
	switch {
	case !v.Verified:
		return "UNVERIFIED: " + v.Why
	case v.Until.IsZero():
		return "verified: " + v.Why
	}

	return "verified until " + v.Until.UTC().Format(time.DateOnly) + ": " + v.Why
}
