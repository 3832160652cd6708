package targets

import (
	"fmt"
	"slices"
	"strings"
)

// Mode is a way in which a platform makes its global transactions known, or is
// kept from being inside of one, when a cut is taken.
type Mode = string

// The modes.
const (
	// ModeAuto uses what the logs show, and the gate of a group that has one.
	ModeAuto Mode = "auto"
	// ModeTagged: each local transaction says in the log what it belongs to.
	ModeTagged Mode = "tagged"
	// ModeTwoPhase: PREPARE TRANSACTION, with an id that says what it belongs to.
	ModeTwoPhase Mode = "two-phase"
	// ModeGate: writers of global transactions share an advisory lock, which a cut
	// takes alone for some milliseconds.
	ModeGate Mode = "gate"
	// ModeLocks: a cut locks the tables against writers. The last resort.
	ModeLocks Mode = "locks"
)

// Modes are one or several modes, joined by "+".
type Modes string

// oldLocks is what ModeLocks was called.
const oldLocks = "share"

// ParseModes reads modes. Each is named once; auto stands alone.
func ParseModes(s string) (Modes, error) {
	if s == ModeAuto || s == oldLocks {
		return Modes(s), nil
	}

	seen := map[string]bool{}
	for name := range strings.SplitSeq(s, "+") {
		if !slices.Contains([]Mode{ModeTagged, ModeTwoPhase, ModeGate, ModeLocks}, name) {
			return "", fmt.Errorf("%q is not a mode of cuts", name)
		}

		if seen[name] {
			return "", fmt.Errorf("the mode %s is named twice", name)
		}
		seen[name] = true
	}

	return Modes(s), nil
}

// FromLogs reports whether a cut is looked for in the logs.
func (m Modes) FromLogs() bool { return m != Modes(ModeLocks) && m != oldLocks }

// Has reports whether a mode is one of them.
func (m Modes) Has(mode Mode) bool {
	return m == oldLocks && mode == ModeLocks || slices.Contains(strings.Split(string(m), "+"), mode)
}
