package moment

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"drctl/internal/moment/evidence"
	"drctl/internal/proof"
	"drctl/targets"
)

// Found is a moment with its evidence.
type Found struct {
	Proof proof.Cut
	// Obstacles say why it is of no better grade, if a better one was acceptable.
	Obstacles []Obstacle
	// Decided says in words which modes the grade rests on, and why.
	Decided string

	req      *Request
	evidence evidence.Record
	at       time.Time
	since    map[targets.ShardID]time.Time
}

// found are the cuts of a look, with their evidence.
func (l *sight) found(req *Request, policy *proof.Policy, modes []string, res *proof.Result) (all []*Found, err error) {
	if len(res.Cuts) == 0 {
		return nil, nil
	}

	refs, err := l.seen.refs()
	if err != nil {
		return nil, err
	}

	why := &None{}
	why.words(res, req.Policy.Limit)

	for _, c := range res.Cuts {
		e := evidence.New(evidence.Record{Group: req.Group, Proof: c, Limit: policy.Limit, GIDs: policy.GIDs, Drift: policy.Drift,
			Modes: modes, Auto: len(req.Policy.Modes) == 0, Since: l.seen.began(), Until: l.seen.ended(), Batches: refs, Logs: l.logs, Holds: req.Holds, Base: l.base})
		e.Tell(l.seen.wall)
		all = append(all, &Found{Proof: c, Obstacles: why.Obstacles, Decided: decided(&e), req: req, evidence: e, since: l.since, at: l.seen.wall(c.T)})
	}

	return all, nil
}

// decided says which modes a grade rests on.
func decided(e *evidence.Record) string {
	switch {
	case len(e.Modes) == 0:
		return "ordered, because the logs show neither tags nor prepared transactions, and no gate was held"
	case slices.Equal(e.Modes, []string{targets.ModeLocks}) && e.Proof.Hold == nil:
		return "ordered, because in mode locks the platform does not say what belongs together, and nothing was locked then"
	case e.Auto:
		return fmt.Sprintf("%v, because that is what the logs show", e.Modes)
	}

	return fmt.Sprintf("%v, as configured", e.Modes)
}

// Modes are those that the grade rests on.
func (f *Found) Modes() []string { return f.evidence.Modes }

// Logs are the parts of the logs that were read.
func (f *Found) Logs() []evidence.Log { return f.evidence.Logs }

// At is what the observer's wall clock showed at the instant of the cut.
func (f *Found) At() time.Time { return f.at }

// Cut is the record of the moment as a cut, with its evidence record, which is to be
// kept under vault.EvidenceKey before the cut's own is. The cut has no name and is not sealed, and the points
// of object stores have no manifest yet.
func (f *Found) Cut(id, tool string) (targets.Cut, []byte, error) {
	e := f.evidence
	e.Cut, e.Tool = id, tool

	content, sum, err := e.Encode()
	if err != nil {
		return targets.Cut{}, nil, err
	}

	cut := targets.Cut{ID: id, Group: f.req.Group, Mode: targets.FromLogs, QuiescedAt: f.at, ReleasedAt: f.at, Tool: tool,
		Proof: f.summary(sum)}

	places, doubts := f.places(), doubts(f.Proof.InDoubt)
	for _, s := range f.req.Shards {
		p := targets.ShardPoint{Shard: s.ID, Kind: s.Kind, Region: s.Region, Instance: s.Instance, Position: targets.Position{Kind: s.Kind}}

		if at, ok := places[s.ID]; ok {
			p.Position = at
		}

		switch {
		case s.Kind == targets.Postgres:
			p.InDoubt, p.InDoubtSince = doubts[s.ID], f.since[s.ID]
		case s.Kind.Traits().Manifest:
			p.Position.AsOf = f.at
		}

		cut.Shards = append(cut.Shards, p)
	}

	slices.SortFunc(cut.Shards, func(a, b targets.ShardPoint) int { return a.Shard.Compare(b.Shard) })

	return cut, content, nil
}

// summary is what the record of the cut says of its proof.
func (f *Found) summary(sum string) *targets.CutProof {
	return &targets.CutProof{Grade: targets.Grade(f.Proof.Grade), At: f.at, Gap: time.Duration(f.Proof.Gap.Width()), Modes: f.evidence.Modes, Auto: f.evidence.Auto,
		Evidence: sum, Tags: f.Proof.Tags, Groups: f.Proof.Groups, Half: len(f.Proof.Half),
		Broken: f.evidence.Listed(), BrokenCount: len(f.Proof.Broken) + f.evidence.Older, BrokenComplete: f.evidence.Complete}
}

// places are where each shard is cut.
func (f *Found) places() map[targets.ShardID]targets.Position {
	all := map[targets.ShardID]targets.Position{}
	for _, c := range f.Proof.Shards {
		all[c.Shard] = targets.Position{Kind: targets.Postgres, Timeline: c.Timeline, Offset: c.Position}
	}

	for _, m := range f.Proof.Redis {
		all[m.Shard] = targets.Position{Kind: targets.Redis, Timeline: m.Timeline, Offset: m.Position}
	}

	return all
}

// doubts are the transactions that are prepared at each shard's point.
func doubts(all []proof.Resolution) map[targets.ShardID][]targets.InDoubt {
	out := map[targets.ShardID][]targets.InDoubt{}
	for _, r := range all {
		out[r.Shard] = append(out[r.Shard], targets.InDoubt{GID: targets.GID(r.GID), Action: targets.InDoubtAction(r.Action), Group: short(evidence.Text(r.Group)), Reason: reasons[r.Action]})
	}

	for _, some := range out {
		slices.SortFunc(some, func(a, b targets.InDoubt) int { return cmp.Compare(a.GID, b.GID) })
	}

	return out
}

var reasons = map[proof.Action]string{
	proof.CommitIt:   "a part of its global transaction is committed in the cut",
	proof.RollBackIt: "no part of its global transaction is committed in the cut",
	proof.LeaveIt:    "whether a part of its global transaction was committed cannot be known from the logs",
}

// short keeps what can be of a text that a record holds.
func short(s string) string { return s[:min(len(s), 1000)] }
