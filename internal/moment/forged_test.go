package moment_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/internal/moment"
	"drctl/internal/moment/evidence"
	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/proof"
	"drctl/internal/vault"
	"drctl/targets"
)

// forged plants forgeries of a cut, each with evidence that the cut names; none is accepted.
func (w *world) forged(t *testing.T, k, other kept) {
	t.Helper()
	policy := &moment.Policy{Modes: k.cut.Proof.Modes, Limit: limit}

	for name, f := range map[string]struct {
		cut      func(c *targets.Cut)
		evidence func(e *evidence.Record)
	}{
		"a position moved": {cut: func(c *targets.Cut) { c.Shards[1].Position.Offset += 8 }},
		"by one record, in both": {func(c *targets.Cut) { move(c, k.Proof.Shards[0]) }, func(e *evidence.Record) {
			s := &e.Proof.Shards[0]
			s.Position, s.Next = s.Last.Position, s.Last
		}},
		"a shard less": {cut: func(c *targets.Cut) { c.Shards = c.Shards[1:] }},
		"a shard more": {cut: func(c *targets.Cut) {
			more := c.Shards[1]
			more.Shard.Shard = "77"
			c.Shards = append(c.Shards, more)
		}},
		"a shard less, in both": {func(c *targets.Cut) {
			c.Shards = slices.DeleteFunc(c.Shards, func(p targets.ShardPoint) bool { return p.Shard == w.pg[0].Shard })
		}, func(e *evidence.Record) {
			e.Proof.Shards = slices.DeleteFunc(e.Proof.Shards, func(s proof.ShardCut) bool { return s.Shard == w.pg[0].Shard })
		}},
		"a shard less, everywhere": {func(c *targets.Cut) {
			c.Shards = slices.DeleteFunc(c.Shards, func(p targets.ShardPoint) bool { return p.Shard == w.pg[0].Shard })
		}, func(e *evidence.Record) {
			e.Proof.Shards = slices.DeleteFunc(e.Proof.Shards, func(s proof.ShardCut) bool { return s.Shard == w.pg[0].Shard })
			e.Logs = slices.DeleteFunc(e.Logs, func(l evidence.Log) bool { return l.Shard == w.pg[0].Shard })
		}},
		"another grade":      {cut: func(c *targets.Cut) { c.Proof.Grade = targets.Locked }},
		"other tags":         {cut: func(c *targets.Cut) { c.Proof.Tags++ }},
		"another time":       {cut: func(c *targets.Cut) { c.Proof.At = c.Proof.At.Add(1) }},
		"no evidence of it":  {cut: func(c *targets.Cut) { c.Proof.Evidence = hex.EncodeToString(make([]byte, 32)) }},
		"a batch left out":   {evidence: func(e *evidence.Record) { e.Batches = slices.Delete(slices.Clone(e.Batches), 1, 2) }},
		"another batch":      {evidence: func(e *evidence.Record) { e.Batches[1].SHA256 = e.Batches[0].SHA256 }},
		"another observer":   {evidence: func(e *evidence.Record) { e.Proof.Observer = "X" }},
		"another run":        {evidence: func(e *evidence.Record) { e.Logs[0].Server = "X" }},
		"less log":           {evidence: func(e *evidence.Record) { e.Logs[0].Start, e.Logs[0].From = e.Logs[0].To, e.Logs[0].To }},
		"an older policy":    {evidence: func(e *evidence.Record) { e.Limit = 1 }},
		"tags unheard of":    {evidence: func(e *evidence.Record) { e.Modes = []string{targets.ModeTwoPhase} }},
		"an instant":         {evidence: func(e *evidence.Record) { e.Proof.T = e.Proof.Gap.To }},
		"a wider gap":        {evidence: func(e *evidence.Record) { e.Proof.Gap.To += 1e9 }},
		"evidence of others": {evidence: func(e *evidence.Record) { e.Cut = other.cut.ID }},
		"another's content": {evidence: func(e *evidence.Record) {
			_, content, _ := other.Cut(k.cut.ID, "test")
			_ = json.Unmarshal(content, e)
		}},
	} {
		cut, content, err := k.Cut(targets.NewID(k.cut.QuiescedAt), "test")
		if err != nil {
			t.Fatal(err)
		}

		if f.evidence != nil {
			var e evidence.Record
			if err := json.Unmarshal(content, &e); err != nil {
				t.Fatal(err)
			}

			f.evidence(&e)

			if content, err = json.Marshal(e); err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(content)
			cut.Proof.Evidence = hex.EncodeToString(sum[:])
		}

		if f.cut != nil {
			f.cut(&cut)
		}

		if _, err := w.set.PutEncrypted(t.Context(), vault.EvidenceKey(group, cut.ID), nil, content); err != nil {
			t.Fatal(err)
		}

		rep, err := moment.Prove(t.Context(), w.v(), openers(), &cut, policy)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}

		if rep.Accepted {
			t.Errorf("%s: accepted", name)
		}

		t.Logf("%s: %v", name, rep.Faults[:min(1, len(rep.Faults))])
	}

	w.hidden(t, k)
	w.objects(t, k)
}

// objects: those of a moment that was named afterwards may be older than it, and that is said;
// those of a cut that was taken may not, and none may be newer.
func (w *world) objects(t *testing.T, k kept) {
	t.Helper()

	for name, c := range map[string]struct {
		named    string
		off      time.Duration
		accepted bool
	}{
		"of the instant":   {"", 0, true},
		"older":            {"", -time.Second, false},
		"older, of a name": {"before", -time.Second, true},
		"newer, of a name": {"before", time.Second, false},
	} {
		cut := k.cut
		cut.Name = c.named
		cut.Shards = append(slices.Clone(cut.Shards), targets.ShardPoint{Shard: targets.ShardID{Target: "media", Shard: "0"}, Kind: targets.S3,
			Position: targets.Position{Kind: targets.S3, AsOf: cut.QuiescedAt.Add(c.off), Manifest: hex.EncodeToString(make([]byte, 32))}})

		rep, err := moment.Prove(t.Context(), w.v(), openers(), &cut, nil)
		if err != nil {
			t.Fatal(err)
		}

		said := slices.ContainsFunc(rep.Words, func(words string) bool {
			return strings.HasPrefix(words, "media/0: ") && strings.Contains(words, ", 1s before the instant")
		})
		if rep.Accepted != c.accepted || said != (c.named != "" && c.accepted) {
			t.Errorf("%s: accepted %v, said %v: %v", name, rep.Accepted, said, rep.Faults)
		}
	}
}

// partial makes a cut of the rest: of a shard that the observer saw a moment ago, and the policy
// let be left out. It is proven as what it says that it is, and refused where it does not say so.
func (w *world) partial(t *testing.T, at time.Time) {
	t.Helper()

	req := w.request()
	req.Wish.At = at
	gone := w.pg[0].Shard
	req.Shards = slices.DeleteFunc(req.Shards, func(s moment.Shard) bool { return s.ID == gone })

	found, err := moment.Find(t.Context(), w.v(), openers(), req)
	if err != nil {
		t.Fatal(err)
	}

	cut, evidence, err := found.Cut(targets.NewID(time.Now()), "test")
	if err != nil {
		t.Fatal(err)
	}

	if _, err := w.set.PutEncrypted(t.Context(), vault.EvidenceKey(group, cut.ID), nil, evidence); err != nil {
		t.Fatal(err)
	}

	for _, without := range [][]targets.Absent{nil, {{Shard: gone, Why: "connection refused"}}} {
		cut.Without = without

		rep, err := moment.Prove(t.Context(), w.v(), openers(), &cut, nil)
		if err != nil || rep.Accepted != (without != nil) {
			t.Errorf("a cut that lacks %v: accepted %t, %v, %v", without, rep.Accepted, rep.Faults, err)
		}

		says := slices.ContainsFunc(rep.Words, func(s string) bool { return strings.Contains(s, "partial: connection refused") })
		if says != (without != nil) {
			t.Errorf("it says %v", rep.Words)
		}
	}
}

// undeclared: where the platform does not say what belongs together, what is prepared and tagged makes no
// moment a proven one, and one that claims that is refused.
func (w *world) undeclared(t *testing.T, at time.Time) {
	t.Helper()

	req := w.request()
	req.Wish.At, req.Policy.Modes = at, []string{targets.ModeLocks}

	found, err := moment.Find(t.Context(), w.v(), openers(), req)
	if err != nil {
		t.Fatal(err)
	}

	if k := w.keep(t, found); k.cut.Proof.Grade != targets.Ordered || !strings.Contains(found.Decided, "does not say") {
		t.Errorf("it is %s: %s", k.cut.Proof.Grade, found.Decided)
	}

	req.Policy.Modes = nil

	if found, err = moment.Find(t.Context(), w.v(), openers(), req); err != nil {
		t.Fatal(err)
	}
	k := w.keep(t, found)

	rep, err := moment.Prove(t.Context(), w.v(), openers(), &k.cut, &moment.Policy{Modes: []string{targets.ModeLocks}, Limit: limit})
	if err != nil || k.cut.Proof.Grade == targets.Proven && rep.Accepted {
		t.Errorf("a moment that is proven by what happened to be in the logs: accepted %t, %v", rep.Accepted, err)
	}
}

// move moves a cut to the last commit before it.
func move(c *targets.Cut, s proof.ShardCut) {
	for i := range c.Shards {
		if c.Shards[i].Shard == s.Shard {
			c.Shards[i].Position.Offset = s.Last.Position
		}
	}
}

// hidden changes what the vault holds under a cut that was proven before.
func (w *world) hidden(t *testing.T, k kept) {
	t.Helper()
	proven := func(what string, want bool) {
		t.Helper()

		rep, err := moment.Prove(context.Background(), w.v(), openers(), &k.cut, nil)
		if err != nil {
			t.Fatal(err)
		}

		if rep.Accepted != want {
			t.Errorf("%s: accepted %v: %v", what, rep.Accepted, rep.Faults)
		}
	}
	proven("as it was", true)

	e, err := evidence.Read(t.Context(), w.v(), &k.cut)
	if err != nil {
		t.Fatal(err)
	}

	// Another batch of the same observer and time.
	all, _, err := batches.Read(t.Context(), w.v(), group, e.Since, e.Until)
	if err != nil {
		t.Fatal(err)
	}
	more := all[1]
	more.Ended = more.Ended.Add(1e6)

	if err := batches.Save(t.Context(), w.set, more); err != nil {
		t.Fatal(err)
	}

	proven("a batch that nobody named", false)
	w.remove(t, more)
	proven("without it", true)
	w.remove(t, all[1])
	proven("a batch that is gone", false)

	if err := batches.Save(t.Context(), w.set, all[1]); err != nil {
		t.Fatal(err)
	}

	// A tag that is not in the log any more: the byte is another.
	key, content := w.chunkWithTag(t, k)
	changed := bytes.Replace(content, []byte("drctl/global"), []byte("drctl/glibal"), 1)
	w.swap(t, key, changed)
	proven("a tag that is hidden", false)
	w.swap(t, key, content)
	proven("as it was again", true)
}

func (w *world) remove(t *testing.T, b observation.Batch) {
	t.Helper()
	name := vault.ObservationName{Group: b.Group, Observer: b.Observer, Began: b.Began, Ended: b.Ended}

	if err := w.v().Store().Delete(t.Context(), name.Key()); err != nil {
		t.Fatal(err)
	}
}

// chunkWithTag is a chunk of the log before a cut.
func (w *world) chunkWithTag(t *testing.T, k kept) (key string, content []byte) {
	t.Helper()
	l := k.Logs()[0]

	for info, err := range w.v().Store().List(t.Context(), vault.TimelinePrefix(l.Shard, l.Timeline()), "") {
		if err != nil {
			t.Fatal(err)
		}

		if c, ok := vault.ParseChunkKey(info.Key); !ok || c.From < l.Start || c.To > l.To {
			continue
		}

		content, _, err := w.v().ReadEncrypted(t.Context(), info.Key)
		if err != nil {
			t.Fatal(err)
		}

		if bytes.Contains(content, []byte("drctl/global")) {
			return info.Key, content
		}
	}

	t.Fatal("no chunk has a tag")

	return "", nil
}

// swap puts another content in the place of a chunk's.
func (w *world) swap(t *testing.T, key string, content []byte) {
	t.Helper()

	_, meta, err := w.v().ReadEncrypted(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}

	if err := w.v().Store().Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}

	if err := w.v().PutEncrypted(t.Context(), key, meta, content); err != nil {
		t.Fatal(err)
	}
}
