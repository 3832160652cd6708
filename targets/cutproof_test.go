package targets

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func proven(now time.Time) Cut {
	return Cut{ID: "c", Group: "g", Mode: FromLogs, Name: "before the deploy", Proof: &CutProof{Grade: Proven, At: now, Gap: time.Hour,
		Modes: []string{ModeTagged}, Evidence: strings.Repeat("a", 64), BrokenCount: 1,
		Broken: []BrokenGlobal{{ID: "x", Done: 1, Want: 2, Shards: []ShardID{{"orders", "0"}}, Since: now}}}}
}

// A cut of an older version has no proof: it was taken by locks.
func TestGradeOfOldCuts(t *testing.T) {
	var c Cut
	if err := json.Unmarshal([]byte(`{"id":"c","group":"g","mode":"gate"}`), &c); err != nil || c.Grade() != Locked || c.Check(time.Now()) != nil {
		t.Errorf("%v: %s", err, c.Grade())
	}

	if c := proven(time.Now()); c.Grade() != Proven || c.Check(time.Now()) != nil {
		t.Errorf("%s: %v", c.Grade(), c.Check(time.Now()))
	}
}

func TestCheckOfProofs(t *testing.T) {
	now := time.Now()

	for name, spoil := range map[string]func(*Cut){
		"grade":      func(c *Cut) { c.Proof.Grade = "best" },
		"mode":       func(c *Cut) { c.Proof.Modes = []string{"x"} },
		"evidence":   func(c *Cut) { c.Proof.Evidence = "a" },
		"time":       func(c *Cut) { c.Proof.At = now.Add(time.Hour) },
		"gap":        func(c *Cut) { c.Proof.Gap = -1 },
		"tags":       func(c *Cut) { c.Proof.Tags = -1 },
		"name":       func(c *Cut) { c.Name = "a\nb" },
		"broken":     func(c *Cut) { c.Proof.Broken = make([]BrokenGlobal, MaxBroken+1) },
		"its shard":  func(c *Cut) { c.Proof.Broken[0].Shards[0].Shard = "../x" },
		"its id":     func(c *Cut) { c.Proof.Broken[0].ID = strings.Repeat("x", 5000) },
		"its counts": func(c *Cut) { c.Proof.Broken[0].Done = -1 },
	} {
		c := proven(now)
		spoil(&c)

		if c.Check(now) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
