package shop

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/fail"
)

// Rounds with cuts and without are of one run, and what is tried is counted.
func TestCompare(t *testing.T) {
	p := platform(t)
	o := options(p, filepath.Join(t.TempDir(), "journal"))

	if _, _, err := Compare(t.Context(), o, Trial{}); !fail.Is(err, fail.Invalid) {
		t.Errorf("nothing to try: %v", err)
	}

	tried := 0

	c, sum, err := Compare(t.Context(), o, Trial{Each: time.Second, Rounds: 2, Every: 100 * time.Millisecond, Cut: func(context.Context) error {
		if tried++; tried == 1 {
			return errors.New("the first fails")
		}

		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}

	if c.Tried != tried || c.Failed != 1 || c.Reason != "the first fails" || c.With.Ops == 0 || c.Without.Ops == 0 || c.Ratio == 0 {
		t.Errorf("%d tried: %+v", tried, c)
	}

	if c.With.Ops+c.Without.Ops >= sum.Acked || sum.Failed+sum.Unknown > 0 {
		t.Errorf("%+v of %+v", c, sum)
	}

	t.Logf("%+v", c)

	var states []bool

	c, _, err = Compare(t.Context(), o, Trial{Each: time.Second, Rounds: 1, Switch: func(_ context.Context, on bool) error {
		states = append(states, on)
		return nil
	}})
	if err != nil || len(states) != 2 || !states[0] || states[1] || c.Tried != 2 || c.With.Ops == 0 {
		t.Errorf("switched: %v, %+v, %v", states, c, err)
	}
}
