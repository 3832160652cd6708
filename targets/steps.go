package targets

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// The steps of taking a cut, in their order. Between two of them the engine hands on.
const (
	StepBegin    = "begin"    // from asking until a worker has begun
	StepServers  = "servers"  // finding the vaults and the primaries
	StepLook     = "look"     // asking all servers closely for their clocks and places
	StepLock     = "lock"     // a barrier of table locks instead
	StepKeep     = "keep"     // the observations get into the vaults
	StepArchive  = "archive"  // the logs up to there get into the vault
	StepRead     = "read"     // reading what is new of them
	StepSearch   = "search"   // searching them for an instant
	StepEvidence = "evidence" // storing the evidence
	StepObjects  = "objects"  // the manifests of the object stores
	StepSeal     = "seal"     // making sure that the vaults lead to every position
)

// CutStep is a part of what it took to take a cut, by the clock of the worker that did it.
type CutStep struct {
	Name string `json:"step"`
	// After is how long after the asking it began, for the first time. Took is how long it
	// took, all times together.
	After time.Duration `json:"after_ns"`
	Took  time.Duration `json:"took_ns"`
	// Times is how often it was done; 0 is once.
	Times int `json:"times,omitempty"`
	// Why says what made it do it again.
	Why string `json:"why,omitempty"`
}

// maxSteps bounds the steps of a cut: more names than there are.
const maxSteps = 50

// CutSteps are the steps of a cut, in the order in which they were begun first.
type CutSteps []CutStep

// Did notes that a step of a cut that was asked for at a time began at another and took until
// now. A step that is done again is one with the first. Of a cut that does not say when
// it was asked for no step says how long after that it began.
func (s *CutSteps) Did(name string, asked, began time.Time) {
	after, took := max(began.Sub(asked), 0), max(time.Since(began), 0)
	if asked.IsZero() {
		after = 0
	}

	for i := range *s {
		if x := &(*s)[i]; x.Name == name {
			x.Took, x.Times = x.Took+took, max(x.Times, 1)+1
			return
		}
	}

	*s = append(*s, CutStep{Name: name, After: after, Took: took})
}

// Again says why a step has to be done once more.
func (s CutSteps) Again(name, why string) {
	why = strings.Join(strings.FieldsFunc(why, unicode.IsControl), " ")
	for i := range s {
		if s[i].Name == name {
			s[i].Why = strings.ToValidUTF8(why[:min(len(why), maxText/2)], "")
		}
	}
}

// checkSteps reports what is wrong with the steps of a cut, by a clock.
func (c Cut) checkSteps(now time.Time) error {
	err := cmp.Or(checkPast("the cut was asked for at", c.AskedAt, now), checkRange("number of steps", int64(len(c.Steps)), maxSteps))

	for _, s := range c.Steps {
		if e := cmp.Or(CheckText("name", s.Name), CheckText("reason", s.Why), checkRange("times", int64(s.Times), maxCount),
			checkRange("begin in ns", int64(s.After), maxOffset), checkRange("length in ns", int64(s.Took), maxOffset)); e != nil {
			err = cmp.Or(err, fmt.Errorf("step %.80q: %w", s.Name, e))
		}
	}

	return err
}
