package told

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"drctl/internal/fail"
	"drctl/restore/readiness"
)

// What goes wrong is logged when it begins, when its reason is another, and
// when it is over: not each time that it is tried again.
func TestChangesAreLoggedAlone(t *testing.T) {
	var buf bytes.Buffer
	w := New(slog.New(slog.NewTextHandler(&buf, nil)))
	lines := func(ps ...readiness.Problem) int {
		t.Helper()
		buf.Reset()
		w.Tell(t.Context(), ps)

		return strings.Count(buf.String(), "\n")
	}
	failing := func(why string) readiness.Problem {
		return readiness.Problem{Code: "archiver-failing", Severity: readiness.Critical, Subject: "orders/0", What: "archiver of orders/0 fails"}.Because(fail.New(fail.Denied, "follow", "orders/0", "grant it", errors.New(why)))
	}

	other := readiness.Problem{Code: "vault-unavailable", Severity: readiness.Warning, Subject: "east", What: "the vault of east cannot be opened"}
	for i, step := range []struct {
		ps   []readiness.Problem
		want int
	}{
		{nil, 0},
		{[]readiness.Problem{failing("pid 11 is in the way")}, 1},
		{[]readiness.Problem{failing("pid 12 is in the way")}, 0}, // the same, tried again
		{[]readiness.Problem{failing("connection refused")}, 1},
		{[]readiness.Problem{failing("pid 13 is in the way")}, 0}, // said before
		{[]readiness.Problem{failing("connection refused"), other}, 1},
		{[]readiness.Problem{other}, 0},
		{[]readiness.Problem{failing("connection refused"), other}, 0}, // it comes and goes
		{[]readiness.Problem{other}, 0},
		{[]readiness.Problem{other}, 0},
		{[]readiness.Problem{other}, 1}, // it is gone
		{[]readiness.Problem{failing("connection refused"), other}, 1},
	} {
		if n := lines(step.ps...); n != step.want {
			t.Errorf("step %d: %d lines, want %d:\n%s", i, n, step.want, &buf)
		}
	}

	for _, want := range []string{"level=ERROR", `msg="archiver of orders/0 fails"`, "code=archiver-failing", "subject=orders/0", `why="follow: orders/0: connection refused"`, `next="grant it"`} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("%s is not in %s", want, &buf)
		}
	}
}
