package clocks_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/lab/clocks"
)

// TestClock: a program's clock steps when it is set, forwards and backwards, and is right before and after.
func TestClock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clocks", "one")

	env, err := clocks.Environment(file)
	if fail.Is(err, fail.NotFound) {
		t.Skip(err)
	}

	if err != nil {
		t.Fatal(err)
	}

	if got, err := clocks.Off(file); err != nil || got != 0 {
		t.Errorf("a clock that nobody has set is off by %s: %v", got, err)
	}

	for _, off := range []time.Duration{90 * time.Second, -time.Hour, 1500 * time.Second, 0} {
		if err := clocks.Set(file, off); err != nil {
			t.Fatal(err)
		}

		if got, err := clocks.Off(file); err != nil || got != off {
			t.Errorf("it is set to %s, want %s: %v", got, off, err)
		}

		c := exec.Command("date", "+%s.%N")
		c.Env = append(os.Environ(), env...)

		before := time.Now()

		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		after := time.Now()

		s, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
		if err != nil {
			t.Fatal(err)
		}

		// A float has no nanoseconds left.
		at := time.Unix(0, int64(s*1e9)).Add(-off)
		if at.Before(before.Add(-time.Millisecond)) || at.After(after.Add(time.Millisecond)) {
			t.Errorf("off by %s: it shows %s, and it is %s to %s", off, at, before, after)
		}
	}

	// What was set stays when the server is started again.
	if err := clocks.Set(file, time.Minute); err != nil {
		t.Fatal(err)
	}

	if _, err := clocks.Environment(file); err != nil {
		t.Fatal(err)
	}

	if got, err := clocks.Off(file); err != nil || got != time.Minute {
		t.Errorf("it is set to %s: %v", got, err)
	}
}
