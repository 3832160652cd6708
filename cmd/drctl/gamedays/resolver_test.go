package gamedays

import (
	"strings"
	"testing"
	"time"

	"drctl/cmd/drctl/detecting"
	"drctl/drills/gameday"
	"drctl/internal/detection"
	"drctl/internal/fail"
)

// What a vantage point said before it fell silent is no detection, and no all-clear.
func TestOnlyVantagePointsThatSpeakAreAsked(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	vote := func(region string, s detection.State, age time.Duration) detection.Vote {
		return detection.Vote{Place: "north", Region: region, State: s, Wall: now.Add(-age)}
	}
	lost := gameday.Check{Detection: "lost", On: "east"}
	old := detecting.Late + time.Second

	for _, c := range []struct {
		name     string
		votes    []detection.Vote
		so, told bool
	}{
		{"lost", []detection.Vote{vote("east", "lost", time.Second)}, true, true},
		{"up", []detection.Vote{vote("east", "up", time.Second)}, false, true},
		{"lost, long ago", []detection.Vote{vote("east", "lost", old)}, false, false},
		{"up, long ago", []detection.Vote{vote("east", "up", old)}, false, false},
		{"another region", []detection.Vote{vote("west", "lost", time.Second)}, false, false},
		{"nobody", nil, false, false},
	} {
		so, _, err := told(c.votes, lost, now)
		if so != c.so || (err == nil) != c.told || err != nil && !fail.Is(err, fail.Unavailable) {
			t.Errorf("%s: %v, %v", c.name, so, err)
		}
	}
}

// A flag of restores is refused, not ignored.
func TestFlagsOfRestores(t *testing.T) {
	if err := WithoutEffect(map[string]bool{"--keep": false, "--vault": false}); err != nil {
		t.Error(err)
	}

	if err := WithoutEffect(map[string]bool{"--keep": true, "--vault": false, "--disaster-at": true}); !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), "--disaster-at, --keep") {
		t.Error(err)
	}
}

// A reason to stop that nobody can give would stop nothing.
func TestProblemsThatThereAreNot(t *testing.T) {
	d := gameday.Definition{Name: "freeze", Stop: []gameday.Check{{Problem: "vault-unavailable"}}, Expect: []gameday.Check{{Verdict: "reached"}, {Problem: "two-primaries", Not: true}}}
	if err := known(d); err != nil {
		t.Error(err)
	}

	for _, wrong := range []gameday.Definition{
		{Stop: []gameday.Check{{Problem: "vault-unavailble"}}},
		{Expect: []gameday.Check{{Problem: "two-primarys", Not: true}}},
		{Red: &gameday.Check{Problem: "standby-stoped"}},
	} {
		if err := known(wrong); !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), "did you mean") {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}
