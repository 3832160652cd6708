package forecast

import (
	"fmt"
	"time"
)

// Rehearsal is a drill, or a run on the real day, of a plan.
type Rehearsal struct {
	ID         string    `json:"id"`
	Definition string    `json:"definition"` // the plan's hash
	Passed     bool      `json:"passed"`
	At         time.Time `json:"at"`
}

// Verification says whether a plan has been shown to work.
type Verification struct {
	Verified bool `json:"verified"`
	// By is the newest rehearsal of this very plan, and Until from when on it is too old.
	By    string    `json:"by,omitempty"`
	Until time.Time `json:"until,omitzero"`
	Why   string    `json:"why"`
}

// Verified judges a plan by its rehearsals: the newest of this very hash must have
// passed, no longer ago than lasts (0 means for ever). One that lies ahead of now
// is believed by nobody.
func Verified(hash string, all []Rehearsal, now time.Time, lasts time.Duration) Verification {
	var newest, other Rehearsal

	for _, r := range all {
		switch {
		case r.At.After(now):
		case r.Definition == hash && !r.At.Before(newest.At):
			newest = r
		case r.Definition != hash && r.Passed && !r.At.Before(other.At):
			other = r
		}
	}

	v := Verification{By: newest.ID}
	if lasts > 0 && newest.ID != "" {
		v.Until = newest.At.Add(lasts)
	}

	switch {
	case newest.ID == "" && other.ID != "":
		v.Why = fmt.Sprintf("it was edited since drill %s passed: an edited plan is unverified", other.ID)
	case newest.ID == "":
		v.Why = "no drill of it has passed"
	case !newest.Passed:
		v.Why = fmt.Sprintf("its newest drill %s failed", newest.ID)
	case lasts > 0 && now.After(v.Until):
		v.Why = fmt.Sprintf("drill %s passed too long ago: it counted until %s", newest.ID, v.Until.UTC().Format(time.DateOnly))
	default:
		v.Verified, v.Why = true, fmt.Sprintf("drill %s passed", newest.ID)
	}

	return v
}
