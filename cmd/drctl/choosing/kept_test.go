package choosing

import (
	"bytes"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"drctl/internal/vault"
	"drctl/restore/choices"
	"drctl/restore/losses"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/workflows/recovery"
)

func table() choices.Table {
	within := 3 * time.Second

	return choices.Table{Group: "shop", From: "east", To: "west", At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Default: plan.Newest, Taken: plan.Newest,
		Choices: []choices.Choice{{Choice: plan.Newest, RPO: choices.Loss{Within: &within, BytesWhy: "nobody saw"}, RTO: choices.Time{Why: "never run"}}}}
}

// TestKept: who takes a run up finds what was shown when it began, and what was kept first stays.
func TestKept(t *testing.T) {
	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "west", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "west")}, Key: key})
	if err != nil {
		t.Fatal(err)
	}

	if got := Kept(t.Context(), v, "shop", "r1"); got != nil {
		t.Errorf("nothing was kept: %+v", got)
	}

	was, later := table(), table()
	later.Default = plan.Proven

	for _, x := range []choices.Table{was, later} {
		if err := Keep(t.Context(), v, "r1", x); err != nil {
			t.Fatal(err)
		}
	}

	if got := Kept(t.Context(), v, "shop", "r1"); got == nil || !reflect.DeepEqual(*got, was) {
		t.Errorf("%+v", got)
	}
}

// TestComparedWithWhatWasReached: a run that has ended is held against what was foreseen, also where only its
// steps say when.
func TestComparedWithWhatWasReached(t *testing.T) {
	x := table()
	out := recovery.Out{Choices: &x, Verdict: machine.Reached, Started: x.At, Steps: []recovery.Step{{Finished: x.At.Add(9 * time.Second)}, {}},
		Loss: &losses.Statement{Silent: x.At.Add(time.Second), Shards: []losses.Shard{{Verdict: losses.Unknown, Since: x.At.Add(-2 * time.Second)}, {Verdict: losses.Nothing}}}}

	says := func(want string) {
		t.Helper()

		var b bytes.Buffer
		if Compare(&b, out); !strings.Contains(b.String(), want) || want == "" && b.Len() > 0 {
			t.Errorf("no %q in %s", want, b.String())
		}
	}

	says("newest loses at most 3 s, log: unknown, takes unknown: never run; reached: loses what was written in the 3 s from 2026-03-01T11:59:58.000Z on, took 9 s")

	out.Loss.Shards[1] = losses.Shard{Verdict: losses.Unknown} // since when nobody knows

	says("reached: loses: unknown")

	out.Loss = nil

	says("reached: loses: unknown: the failover has made no statement of loss")

	out.Verdict = machine.TakenBack

	says("foreseen at 2026-03-01T12:00:00Z: newest (default, this plan)")

	out.Choices = nil

	says("")
}
