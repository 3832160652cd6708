package drills

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/report/evidence"
	"drctl/targets"
)

// The choices of a drill's cut.
const (
	Latest = "latest"
	Random = "random"
)

// Definition is a restore drill as configured. It is plain data.
type Definition struct {
	Name  string `json:"name"`
	Group string `json:"group"`
	// Cut is Latest, or Random for any sealed cut that was taken within
	// Window before now.
	Cut    string        `json:"cut"`
	Window time.Duration `json:"window_ns,omitempty"`
	// Seed fixes the draw; 0 takes the one that the caller draws.
	Seed int64 `json:"seed,omitempty"`
	// Vault is the region whose vault alone is read.
	Vault      string              `json:"vault"`
	Objectives evidence.Objectives `json:"objectives"`
	Checks     Checks              `json:"checks"`
	// Every is the interval of the schedule, 0 when there is none.
	Every      time.Duration `json:"every_ns,omitempty"`
	Scenario   string        `json:"scenario,omitempty"`
	Hypothesis string        `json:"hypothesis,omitempty"`
	// Participants are names, or "name (role)".
	Participants []string `json:"participants,omitempty"`
	// Trigger is "schedule", "manual", "change" or "incident".
	Trigger string `json:"trigger,omitempty"`
}

// Checks are what must hold in the restored data.
type Checks struct {
	// Quick leaves out what reads every byte.
	Quick bool `json:"quick,omitempty"`
	// Assertions are run by the driver, by "target" (every shard of it) or
	// "target/shard".
	Assertions map[string][]targets.Assertion `json:"assertions,omitempty"`
	Sums       []Sum                          `json:"sums,omitempty"`
	Objects    []ObjectCheck                  `json:"objects,omitempty"`
}

// Sum is an invariant over all shards of a target.
type Sum struct {
	Name   string `json:"name"`
	Target string `json:"target"` // a postgres target
	// Query returns one number in the first column of its first row. No row or
	// NULL, as from SUM over an empty table, fails the check.
	Query string `json:"query"`
	// Want is the sum over all shards, with the operators of targets.Assertion.
	Want string `json:"want"`
}

// ObjectCheck compares the objects of a bucket with the rows that name them.
type ObjectCheck struct {
	Target string `json:"target"` // the s3 target
	From   string `json:"from"`   // the postgres target; the query runs on all its shards
	// Query returns the key and, as a second column, the SHA-256 in hex.
	Query string `json:"query"`
	// AllowEmpty accepts that no row names an object; else that is a failure,
	// because a check which looked at nothing has shown nothing.
	AllowEmpty bool `json:"allow_empty,omitempty"`
}

// Validate finds every contradiction at once; the error has code invalid.
func (d Definition) Validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(d.Name != "", "it has no name")
	need(d.Group != "", "it names no group")
	need(d.Cut == Latest || d.Cut == Random, "cut is %q, not %q or %q", d.Cut, Latest, Random)
	need(d.Cut != Random || d.Window > 0, "a random cut needs a window")
	need(d.Objectives.RTO >= 0 && d.Objectives.RPO >= 0, "an objective is negative")

	for i, s := range d.Checks.Sums {
		need(s.Name != "" && s.Target != "" && s.Query != "" && s.Want != "", "sum %d needs name, target, query and want", i+1)
	}

	for i, o := range d.Checks.Objects {
		need(o.Target != "" && o.From != "" && o.Query != "", "object check %d needs target, from and query", i+1)
	}

	for on, as := range d.Checks.Assertions {
		for i, a := range as {
			need(strings.TrimSpace(a.Query) != "" && a.Name != "", "assertion %d of %s needs name and query", i+1, on)
		}
	}

	if len(errs) == 0 {
		return nil
	}

	return fail.New(fail.Invalid, "drill: define", d.Name, "", errors.Join(errs...))
}
