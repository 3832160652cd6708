package targets

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Grade is how much is known of a cut.
type Grade string

// The grades, best first.
const (
	// Proven: no effect without its cause, and whole in all global transactions that are
	// tagged, in two phases or behind the gate, but those that are listed as broken.
	Proven Grade = "proven"
	// Locked: no effect without its cause, and taken while tables were locked.
	Locked Grade = "locked"
	// Ordered: no effect without its cause; nothing is known of global transactions.
	Ordered Grade = "ordered"
)

// CutProof is what was read out of the logs of a cut. The evidence is kept beside
// the cut's record, and says it all.
type CutProof struct {
	Grade Grade `json:"grade"`
	// At is what the observer's wall clock showed at the instant of the cut. It is for people:
	// no proof rests on it.
	At time.Time `json:"at"`
	// Gap is how long nothing was committed anywhere around the instant.
	Gap time.Duration `json:"gap_ns"`
	// Modes are those that the grade rests on. Auto says that they were chosen by what the
	// logs show.
	Modes []string `json:"modes"`
	Auto  bool     `json:"auto,omitempty"`
	// Evidence is the SHA-256 of the evidence record.
	Evidence string `json:"evidence_sha256"`
	// Tags and Groups count the global transactions that were seen in the logs by
	// tag and in two phases.
	Tags   int `json:"tags"`
	Groups int `json:"groups"`
	// Broken are global transactions that were half done for longer than the
	// policy allows, the youngest of BrokenCount. They stay there, cut after cut, until they are
	// whole. Half counts those for less, which only a cut that is not proven can have.
	Broken      []BrokenGlobal `json:"broken,omitempty"`
	BrokenCount int            `json:"broken_count,omitempty"`
	// BrokenComplete is since when that list is complete: none is missing that was half done since
	// then. Zero: nothing is promised.
	BrokenComplete time.Time `json:"broken_complete_from,omitzero"`
	Half           int       `json:"half,omitempty"`
}

// BrokenGlobal is a global transaction of which a part is in a cut and a part is not.
type BrokenGlobal struct {
	// ID is its tag, or what its gids have in common.
	ID       string `json:"id"`
	TwoPhase bool   `json:"two_phase,omitempty"`
	// Done and Want count its local transactions; Want is 0 if not known.
	Done int `json:"done"`
	Want int `json:"want,omitempty"`
	// Shards have a part of it.
	Shards []ShardID `json:"shards"`
	// Since is when it was half done at the latest, by the observer's wall clock.
	Since time.Time `json:"since"`
}

// Parts says how much of it is done, and where.
func (b BrokenGlobal) Parts() string {
	on := make([]string, len(b.Shards))
	for i, s := range b.Shards {
		on[i] = s.String()
	}

	if b.Want > 0 {
		return fmt.Sprintf("%d of %d parts, on %s", b.Done, b.Want, strings.Join(on, ", "))
	}

	return fmt.Sprintf("%d parts, on %s", b.Done, strings.Join(on, ", "))
}

// MaxBroken is how many broken global transactions a cut lists.
const MaxBroken = 100

// Check reports what is wrong with the proof of a cut, by a clock.
func (p *CutProof) Check(now time.Time) error {
	if p == nil {
		return nil
	}

	switch p.Grade {
	case Proven, Locked, Ordered:
	default:
		return fmt.Errorf("grade %.80q is not known", string(p.Grade))
	}

	for _, m := range p.Modes {
		switch m {
		case ModeTagged, ModeTwoPhase, ModeGate, ModeLocks:
		default:
			return fmt.Errorf("mode %.80q is not known", m)
		}
	}

	err := cmp.Or(checkPast("the instant of the cut was", p.At, now), checkPast("the list of broken transactions is complete since", p.BrokenComplete, now), checkForm("evidence", p.Evidence, shaRE),
		checkRange("gap in ns", int64(p.Gap), maxOffset), checkRange("number of modes", int64(len(p.Modes)), 4),
		checkRange("number of tags", int64(p.Tags), maxCount), checkRange("number of two-phase transactions", int64(p.Groups), maxCount),
		checkRange("number of listed broken transactions", int64(len(p.Broken)), MaxBroken),
		checkRange("number of broken transactions", int64(p.BrokenCount), maxCount), checkRange("number of half-done transactions", int64(p.Half), maxCount))
	if err != nil {
		return err
	}

	for _, b := range p.Broken {
		if err := b.check(); err != nil {
			return fmt.Errorf("the broken global transaction %.80q: %w", b.ID, err)
		}
	}

	return nil
}

// check does not judge the ID: the platform made it.
func (b BrokenGlobal) check() error {
	if len(b.ID) > maxPath {
		return fmt.Errorf("an id of %d bytes", len(b.ID))
	}

	err := cmp.Or(checkRange("number of parts", int64(b.Done), maxCount), checkRange("number of parts", int64(b.Want), maxCount),
		checkRange("number of shards", int64(len(b.Shards)), maxList))
	for _, s := range b.Shards {
		err = cmp.Or(err, s.Check())
	}

	return err
}
