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
	own := func(k proof.Kind, gid string) proof.Record { // on the timeline of the new primary
		return proof.Record{Kind: k, GID: gid, Stamp: at(now.Add(time.Second)), Start: 100}
	}
	earlier := proof.Record{Kind: proof.CommitPrepared, GID: "x", Stamp: at(now.Add(-time.Millisecond))}
	long := now.Add(-time.Hour)
	prepared := []proof.Record{rec(proof.Prepare, "x")}

	for name, c := range map[string]struct {
		zero, one []proof.Record
		since     time.Time
		why       string
		gids      string
		gid       string
		want      targets.InDoubtAction
		reason    string
	}{
		"committed elsewhere":   {zero: prepared, one: []proof.Record{rec(proof.Prepare, "x"), rec(proof.CommitPrepared, "x")}, want: targets.InDoubtCommit, reason: "committed on orders/1"},
		"nowhere":               {zero: prepared, want: targets.InDoubtRollBack, reason: "no part"},
		"rolled back elsewhere": {zero: prepared, one: []proof.Record{rec(proof.AbortPrepared, "x")}, want: targets.InDoubtRollBack, reason: "rolled back on orders/1"},
		"both":                  {zero: prepared, one: []proof.Record{rec(proof.CommitPrepared, "x"), rec(proof.AbortPrepared, "x")}, want: targets.InDoubtLeave, reason: "another rolled back"},
		"used twice":            {zero: []proof.Record{rec(proof.Prepare, "x"), rec(proof.CommitPrepared, "x"), rec(proof.Prepare, "x")}, want: targets.InDoubtLeave, reason: "used 2 times"},
		"not read":              {zero: prepared, why: "the vault is gone", want: targets.InDoubtLeave, reason: "the vault is gone"},
		"read too late":         {zero: prepared, since: now.Add(-time.Second), want: targets.InDoubtLeave, reason: "on only"},
		"not read, committed":   {zero: prepared, one: []proof.Record{rec(proof.CommitPrepared, "x")}, since: now, want: targets.InDoubtCommit, reason: "committed on orders/1"},
		"nameless":              {zero: prepared, one: []proof.Record{rec(proof.CommitPrepared, "")}, want: targets.InDoubtLeave, reason: "prepared before the log"},
		"by a rule":             {gids: `^(.*)_\d$`, gid: "x_0", zero: []proof.Record{rec(proof.Prepare, "x_0")}, one: []proof.Record{rec(proof.CommitPrepared, "x_1")}, want: targets.InDoubtCommit, reason: "committed on orders/1"},
		"of no rule":            {gids: `^(.*)_\d$`, zero: prepared, one: []proof.Record{rec(proof.CommitPrepared, "x")}, want: targets.InDoubtRollBack, reason: "no part"},

		"its preparation was not read":          {one: []proof.Record{rec(proof.CommitPrepared, "x")}, want: targets.InDoubtLeave, reason: "its preparation is not in the log"},
		"prepared since the promotion":          {zero: []proof.Record{own(proof.Prepare, "x")}, want: targets.InDoubtLeave, reason: "on the new primary"},
		"prepared since, and used before":       {zero: []proof.Record{rec(proof.Prepare, "x"), rec(proof.AbortPrepared, "x"), own(proof.Prepare, "x")}, want: targets.InDoubtLeave, reason: "on the new primary"},
		"ended, and prepared again":             {zero: []proof.Record{rec(proof.Prepare, "x"), rec(proof.CommitPrepared, "x")}, want: targets.InDoubtLeave, reason: "used before"},
		"committed before it was prepared":      {zero: prepared, one: []proof.Record{rec(proof.Prepare, "x"), earlier}, want: targets.InDoubtLeave, reason: "before it was prepared here"},
		"committed by a person since":           {zero: prepared, one: []proof.Record{rec(proof.Prepare, "x"), own(proof.CommitPrepared, "x")}, want: targets.InDoubtCommit, reason: "committed on orders/1"},
		"committed, and rolled back by someone": {zero: prepared, one: []proof.Record{rec(proof.CommitPrepared, "x"), own(proof.AbortPrepared, "x")}, want: targets.InDoubtLeave, reason: "another rolled back"},
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
			logs := []halfdone.Log{{Shard: shard("0"), Since: long, Fork: 100, Records: c.zero}, {Shard: shard("1"), Since: since, Fork: 100, Records: c.one, Why: c.why}}

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

	// What was prepared is committed since, and what clients have begun since is theirs.
	since := func(tag string) proof.Record {
		return proof.Record{Kind: proof.CommitPrepared, Start: 100, Stamp: at(now.Add(time.Second)), Tags: []string{tag}}
	}

	for i := range logs {
		logs[i].Fork = 100
	}
	logs[1].Records = append(logs[1].Records, since("half/2"), since("young/2"))

	if now := halfdone.HalfDone(logs); len(now) != 1 || now[0].ID != "open" {
		t.Errorf("since the promotion: %+v", now)
	}

	if text := got[1].Words(); !strings.Contains(text, `"half" is half done: 1 of 2 parts`) || !strings.Contains(text, "orders/0") {
		t.Error(text)
	}
}
