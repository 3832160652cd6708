package halfdone_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"drctl/activities/halfdone"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/targets"
	"drctl/targets/handover"
)

func shard(n string) targets.ShardID { return targets.ShardID{Target: "orders", Shard: n} }

func at(t time.Time) clock.Stamp { return clock.Stamp(t.UnixNano()) }

// The rule decides by what was read; what was not read, used twice or contradictory is left.
func TestDecide(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	rec := func(k proof.Kind, gid string) proof.Record { return proof.Record{Kind: k, GID: gid, Stamp: at(now)} }
	long := now.Add(-time.Hour)

	for name, c := range map[string]struct {
		zero, one []proof.Record
		since     time.Time
		why       string
		gids      string
		gid       string
		want      targets.InDoubtAction
		reason    string
	}{
		"committed elsewhere":   {zero: []proof.Record{rec(proof.Prepare, "x")}, one: []proof.Record{rec(proof.Prepare, "x"), rec(proof.CommitPrepared, "x")}, want: targets.InDoubtCommit, reason: "committed on orders/1"},
		"nowhere":               {zero: []proof.Record{rec(proof.Prepare, "x")}, want: targets.InDoubtRollBack, reason: "no part"},
		"rolled back elsewhere": {zero: []proof.Record{rec(proof.Prepare, "x")}, one: []proof.Record{rec(proof.AbortPrepared, "x")}, want: targets.InDoubtRollBack, reason: "rolled back on orders/1"},
		"both":                  {one: []proof.Record{rec(proof.CommitPrepared, "x"), rec(proof.AbortPrepared, "x")}, want: targets.InDoubtLeave, reason: "another rolled back"},
		"used twice":            {zero: []proof.Record{rec(proof.Prepare, "x"), rec(proof.CommitPrepared, "x"), rec(proof.Prepare, "x")}, want: targets.InDoubtLeave, reason: "used 2 times"},
		"not read":              {why: "the vault is gone", want: targets.InDoubtLeave, reason: "the vault is gone"},
		"read too late":         {since: now.Add(-time.Second), want: targets.InDoubtLeave, reason: "on only"},
		"not read, committed":   {one: []proof.Record{rec(proof.CommitPrepared, "x")}, since: now, want: targets.InDoubtCommit, reason: "committed on orders/1"},
		"nameless":              {one: []proof.Record{rec(proof.CommitPrepared, "")}, want: targets.InDoubtLeave, reason: "prepared before the log"},
		"by a rule":             {gids: `^(.*)_\d$`, gid: "x_0", one: []proof.Record{rec(proof.CommitPrepared, "x_1")}, want: targets.InDoubtCommit, reason: "committed on orders/1"},
		"of no rule":            {gids: `^(.*)_\d$`, gid: "x", one: []proof.Record{rec(proof.CommitPrepared, "x")}, want: targets.InDoubtRollBack, reason: "no part"},
	} {
		t.Run(name, func(t *testing.T) {
			var rule *regexp.Regexp
			if c.gids != "" {
				rule = regexp.MustCompile(c.gids)
			}

			gid := targets.GID("x")
			if c.gid != "" {
				gid = targets.GID(c.gid)
			}

			since := long
			if !c.since.IsZero() {
				since = c.since
			}
			logs := []halfdone.Log{{Shard: shard("0"), Since: long, Records: c.zero}, {Shard: shard("1"), Since: since, Records: c.one, Why: c.why}}

			got := halfdone.Decide(map[targets.ShardID][]handover.Doubt{shard("0"): {{GID: gid, Since: now}}}, logs, rule)[shard("0")]
			if len(got) != 1 || got[0].Action != c.want || !strings.Contains(got[0].Reason, c.reason) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A tagged transaction of which a part is missing is listed, with where and when the others
// are; one that is whole, or may have begun before what was read, is not.
func TestHalfDone(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tagged := func(after time.Duration, tag string) proof.Record {
		return proof.Record{Kind: proof.Commit, Stamp: at(now.Add(after)), Tags: []string{tag}}
	}
	logs := []halfdone.Log{
		{Shard: shard("0"), Since: now.Add(-time.Hour), Records: []proof.Record{tagged(-time.Hour, "old/2"), tagged(0, "whole/2"), tagged(1, "half/2"), tagged(2, "open/+"), tagged(3, "shut/+")}},
		{Shard: shard("1"), Since: now.Add(-2 * time.Hour), Records: []proof.Record{tagged(1, "whole/2"), tagged(4, "shut/.")}},
	}

	got := halfdone.HalfDone(logs)
	if len(got) != 2 || got[0].ID != "open" || got[1].ID != "half" || got[1].Want != 2 || len(got[1].Have) != 1 || got[1].Have[0].Shard != shard("0") || !got[1].Have[0].At.Equal(now.Add(1)) {
		t.Fatalf("%+v", got)
	}

	if text := got[1].Words(); !strings.Contains(text, `"half" is half done: 1 of 2 parts`) || !strings.Contains(text, "orders/0") {
		t.Error(text)
	}
}
