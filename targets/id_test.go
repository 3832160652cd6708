package targets

import (
	"testing"
	"time"
)

// What was made in one millisecond has no order: only the time of an id counts.
func TestIDsSortByTimeAlone(t *testing.T) {
	at := time.Date(2026, 11, 23, 19, 25, 31, 123e6, time.FixedZone("", 3600))
	for range 1000 {
		id := NewID(at)
		if len(id) != len("20261123T182531.123Z-9f3a51c0") || !IsName(id) {
			t.Fatal(id)
		}

		if MadeBefore(id, at) || !MadeBefore(id, at.Add(time.Millisecond)) || id <= NewID(at.Add(-time.Millisecond)) {
			t.Fatalf("%s, made at %s", id, IDTime(at))
		}

		if old := id[:len(id)-4]; MadeBefore(old, at) || !MadeBefore(old, at.Add(time.Millisecond)) {
			t.Fatalf("%s, made at %s", old, IDTime(at))
		}
	}
}
