package targets_test

import (
	"testing"

	"drctl/targets"
)

func TestParseModes(t *testing.T) {
	t.Parallel()

	for s, has := range map[string][]targets.Mode{
		"auto":             {targets.ModeAuto},
		"gate":             {targets.ModeGate},
		"tagged+two-phase": {targets.ModeTagged, targets.ModeTwoPhase},
		"share":            {targets.ModeLocks}, // of older configurations
	} {
		m, err := targets.ParseModes(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
		}

		n := 0
		for _, mode := range []targets.Mode{targets.ModeAuto, targets.ModeTagged, targets.ModeTwoPhase, targets.ModeGate, targets.ModeLocks} {
			if m.Has(mode) {
				n++
			}
		}

		for _, mode := range has {
			if !m.Has(mode) || n != len(has) {
				t.Errorf("%s has %d modes, wanted %v", s, n, has)
			}
		}
	}

	for _, s := range []string{"", "+", "gate+", "auto+gate", "tagged+tagged", "lock", "Gate"} {
		if m, err := targets.ParseModes(s); err == nil {
			t.Errorf("%q was read as %q", s, m)
		}
	}
}
