package indoubt

import (
	"errors"
	"strings"
	"testing"
	"time"

	"drctl/targets"
)

// A cut that was taken by locks, and one that was read out of the logs, allow different
// transactions to be prepared.
func TestJudge(t *testing.T) {
	at := time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)
	list := []targets.InDoubt{{GID: "end", Action: targets.InDoubtCommit}, {GID: "leave", Action: targets.InDoubtLeave}}

	for name, c := range map[string]struct {
		there Transaction
		want  Want
		is    targets.Severity
	}{
		"locks: elsewhere":              {Transaction{GID: "x", Prepared: at}, Want{}, targets.Warned},
		"locks: in the quiesced tables": {Transaction{GID: "x", Prepared: at, Writes: true}, Want{}, targets.Failed},
		"logs: to be ended":             {Transaction{GID: "end", Prepared: at.Add(time.Hour)}, Want{list, at}, targets.Failed},
		"logs: to be left":              {Transaction{GID: "leave", Prepared: at.Add(time.Hour), Writes: true}, Want{list, at}, targets.Warned},
		"logs: unknown":                 {Transaction{GID: "x", Prepared: at}, Want{nil, at}, targets.Failed},
		"logs: older than what is read": {Transaction{GID: "x", Prepared: at.Add(-time.Nanosecond)}, Want{list, at}, targets.Warned},
		"logs: since nobody knows when": {Transaction{GID: "x", Prepared: at}, Want{list, time.Time{}}, targets.Warned},
	} {
		if f := Judge([]Transaction{c.there}, c.want); f.Severity != c.is || !strings.Contains(f.Detail, `"`+string(c.there.GID)+`"`) {
			t.Errorf("%s: %+v", name, f)
		}
	}

	if f := Judge(nil, Want{list, at}); f.Severity != targets.Passed {
		t.Errorf("%+v", f)
	}
}

func TestUnableIsAFailure(t *testing.T) {
	list := []targets.InDoubt{{GID: "a", Action: targets.InDoubtCommit, Reason: "r"}, {GID: "b", Action: targets.InDoubtRollBack}}
	fs := Unable("s", Want{List: list}, errors.New("no role may log in"))

	if len(fs) != 2 || fs[0].Severity != targets.Failed || !strings.Contains(fs[0].Detail, "no role may log in") {
		t.Errorf("%+v", fs)
	}

	if fs := Unable("s", Want{}, errors.New("x")); len(fs) != 0 {
		t.Errorf("%+v", fs)
	}
}

// A literal is ASCII alone and means the same bytes.
func TestLiteral(t *testing.T) {
	for gid, want := range map[targets.GID]string{
		"plain":  `E'plain'`,
		"it's":   `E'it''s'`,
		`a\b`:    `E'a\\b'`,
		"ü\n":    `E'\xc3\xbc\x0a'`,
		"\xff\"": `E'\xff"'`,
	} {
		if got := literal(gid); got != want {
			t.Errorf("%q: %s, want %s", gid, got, want)
		}
	}
}
