package cutview

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"drctl/cmd/drctl/answer"
	"drctl/targets"
)

func slow(stall time.Duration) targets.Cut {
	asked := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

	return targets.Cut{ID: "c", Group: "shop", AskedAt: asked, QuiescedAt: asked.Add(time.Second), SealedAt: asked.Add(3 * time.Second), Stall: stall, Attempts: 2,
		Proof: &targets.CutProof{Grade: targets.Proven, At: asked.Add(time.Second), Modes: []string{targets.ModeTagged}},
		Steps: targets.CutSteps{{Name: targets.StepLook, After: 100 * time.Millisecond, Took: 200 * time.Millisecond, Times: 2},
			{Name: targets.StepSearch, After: 400 * time.Millisecond, Took: 2 * time.Second, Times: 2, Why: "orders/1: 3 quiet instants fell into a transaction"},
			{Name: "of a later version", Took: time.Millisecond}}}
}

// An operator sees why a cut was slow, and reads of waiting only where somebody waited.
func TestWhyACutWasSlow(t *testing.T) {
	old := slow(0)
	old.AskedAt, old.Steps = time.Time{}, nil

	var shown, stats, waited bytes.Buffer
	if err := Show(&shown, slow(0), "sealed"); err != nil {
		t.Fatal(err)
	}

	if err := Stats(&stats, answer.StatsOf([]targets.Cut{slow(0), old})); err != nil {
		t.Fatal(err)
	}

	if err := Stats(&waited, answer.StatsOf([]targets.Cut{slow(12 * time.Millisecond)})); err != nil {
		t.Fatal(err)
	}

	for _, want := range []string{"sealed 3 s later", "+400 ms", "2 s", "search once more, because: orders/1: 3 quiet instants", "of a later version"} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("not shown: %q\n%s", want, &shown)
		}
	}

	for _, want := range []string{"over 2 cuts, with at most 2 attempts: nobody waited for any", "whole", "look", "search"} {
		if !strings.Contains(stats.String(), want) {
			t.Errorf("not in the figures: %q\n%s", want, &stats)
		}
	}

	if text := stats.String() + shown.String(); strings.Contains(text, "stall") || strings.Contains(text, "barrier") {
		t.Errorf("it speaks of a barrier, and there was none:\n%s", text)
	}

	if !strings.Contains(waited.String(), "longest 12 ms") {
		t.Errorf("who waited is not told:\n%s", &waited)
	}

	if row := Row(slow(0)); row[5] != "nobody" || row[6] != "3 s" {
		t.Errorf("%q", row)
	}

	if row := Row(old); row[6] != "2 s" {
		t.Errorf("a cut of an older version: %q", row)
	}
}
