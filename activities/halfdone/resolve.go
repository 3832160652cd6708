package halfdone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/internal/platform"
	"drctl/internal/proof/shardlog"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

const (
	// readLimit is how long logs may be read for the rule: clients wait.
	readLimit = 30 * time.Second
	// backAtFirst and backAtMost are how far before the oldest that is in doubt logs are read.
	backAtFirst = 5 * time.Minute
	backAtMost  = 6 * time.Hour
	// lately is how far back half done tagged transactions are looked for.
	lately = 10 * time.Minute
)

// Resolver ends what a failover has left half done, and lists the rest.
type Resolver struct {
	Platform platform.Resolver
	Drivers  map[targets.Kind]targets.Driver
	Logs     map[targets.Kind]shardlog.Opener
}

// Left are prepared transactions.
type Left struct {
	// InDoubt are those that nobody has ended, and Ended those that were ended by rule.
	InDoubt []string `json:"in_doubt"`
	Ended   []string `json:"ended,omitempty"`
}

// ender is what ends what is prepared on the new side of a shard; nil where nothing is.
func (a Resolver) ender(ctx context.Context, d plan.Definition, id targets.ShardID) (handover.Ender, targets.Instance, error) {
	in, err := a.Platform.Instance(ctx, id, d.To)
	if err != nil {
		return nil, in, err
	}

	e, ok := a.Drivers[in.Kind].(handover.Ending)
	if !ok {
		return nil, in, nil
	}

	return e.Ender(), in, nil
}

// Of are InDoubt and Resolve of one plan.
func (a Resolver) Of(d plan.Definition) (list func(context.Context, targets.ShardID) ([]string, error), end func(context.Context, targets.ShardID, map[targets.ShardID]targets.Position) (Left, error)) {
	list = func(ctx context.Context, id targets.ShardID) ([]string, error) { return a.InDoubt(ctx, d, id) }
	end = func(ctx context.Context, id targets.ShardID, forks map[targets.ShardID]targets.Position) (Left, error) {
		return a.Resolve(ctx, d, id, forks)
	}

	return list, end
}

// InDoubt lists what is prepared on the new side of a shard.
func (a Resolver) InDoubt(ctx context.Context, d plan.Definition, id targets.ShardID) (out []string, err error) {
	e, in, err := a.ender(ctx, d, id)
	if err != nil || e == nil {
		return nil, err // stores of other kinds prepare nothing
	}

	all, err := e.Doubts(ctx, in)
	for _, t := range all {
		out = append(out, t.Text)
	}

	return out, err
}

// Resolve ends what is prepared on the new side of a shard by the rule, and says of each why.
func (a Resolver) Resolve(ctx context.Context, d plan.Definition, id targets.ShardID, forks map[targets.ShardID]targets.Position) (left Left, err error) {
	e, in, err := a.ender(ctx, d, id)
	if err != nil || e == nil {
		return left, err
	}

	own, err := e.Doubts(ctx, in)
	if err != nil || len(own) == 0 {
		return left, err
	}
	list := a.ruled(ctx, d, id, own, forks)

	found, err := e.End(ctx, in, list)
	if err != nil {
		return left, err
	}

	for _, f := range found {
		if f.Severity == targets.Passed {
			left.Ended = append(left.Ended, f.Got+": "+f.Detail)
		} else {
			left.InDoubt = append(left.InDoubt, f.Detail)
		}
	}

	return left, nil
}

// ruled decides. Logs that cannot be read are a reason to leave what they would tell of.
func (a Resolver) ruled(ctx context.Context, d plan.Definition, id targets.ShardID, own []handover.Doubt, forks map[targets.ShardID]targets.Position) []targets.InDoubt {
	doubts := map[targets.ShardID][]handover.Doubt{id: own}

	rule, err := a.gids(d)
	if err != nil {
		return Decide(doubts, []Log{{Shard: id, Why: err.Error()}}, nil)[id]
	}

	ctx, stop := context.WithTimeout(ctx, readLimit)
	defer stop()

	oldest := own[0].Since
	for _, o := range own {
		if o.Since.Before(oldest) {
			oldest = o.Since
		}
	}

	from := a.sources(ctx, d, forks)

	var list []targets.InDoubt

	for back := backAtFirst; back <= backAtMost; back *= 6 {
		list = decided(list, Decide(doubts, read(ctx, from, oldest.Add(-back)), rule)[id])
		if !slices.ContainsFunc(list, func(x targets.InDoubt) bool { return x.Action == targets.InDoubtLeave }) {
			break
		}
	}

	return list
}

// decided is what was decided by some of the logs, and by more of them. That these could not be read in time leaves
// nothing that was decided before.
func decided(some, more []targets.InDoubt) []targets.InDoubt {
	for i, x := range some {
		if x.Action != targets.InDoubtLeave {
			more[i] = x
		}
	}

	return more
}

// gids is the rule by which the group's gids belong together.
func (a Resolver) gids(d plan.Definition) (*regexp.Regexp, error) {
	g, err := a.Platform.Group(d.Group)
	if err != nil || g.Policy.GIDs == "" {
		return nil, err
	}

	return regexp.Compile(g.Policy.GIDs)
}

// sourced is where the log of a shard is to be read, or why it cannot be.
type sourced struct {
	Source
	why string
}

// sources are those of all shards of the group that have transactions. Of one that the plan does not move, and of one
// that has no fork, none is read.
func (a Resolver) sources(ctx context.Context, d plan.Definition, forks map[targets.ShardID]targets.Position) (all []sourced) {
	g, err := a.Platform.Group(d.Group)
	if err != nil {
		return []sourced{{why: err.Error()}}
	}

	for _, s := range d.Steps {
		if s.Do != plan.OpPromote || a.Logs[s.Kind] == nil {
			continue
		}

		x := sourced{Source: Source{Shard: s.On}}
		if src, err := a.source(ctx, d, s.On, forks[s.On]); err != nil {
			x.why = err.Error()
		} else {
			x.Source = src
		}
		all = append(all, x)
	}

	for _, s := range g.Shards {
		if a.Logs[s.Kind] != nil && !slices.ContainsFunc(all, func(x sourced) bool { return x.Shard == s.Shard }) {
			all = append(all, sourced{Source: Source{Shard: s.Shard}, why: "it stays where it is, and parts of global transactions may be there"})
		}
	}

	return all
}

// read reads the logs of sources from before a time on.
func read(ctx context.Context, from []sourced, since time.Time) []Log {
	out := make([]Log, len(from))

	var all errgroup.Group
	all.SetLimit(8)

	for i, src := range from {
		all.Go(func() error {
			if out[i] = (Log{Shard: src.Shard, Why: src.why}); src.why == "" {
				out[i] = src.Read(ctx, since)
			}

			return nil
		})
	}

	_ = all.Wait() // what was in the way is in each

	return out
}

func (a Resolver) source(ctx context.Context, d plan.Definition, id targets.ShardID, fork targets.Position) (Source, error) {
	e, in, err := a.ender(ctx, d, id)
	if err == nil && (e == nil || fork.Timeline == "") {
		err = errors.New("where it left the old timeline is not known")
	}

	if err != nil {
		return Source{}, err
	}

	v, err := a.Platform.Vault(ctx, d.To)

	return Source{Vault: v, Opener: a.Logs[in.Kind], Shard: id, Fork: fork,
		Rest: func(ctx context.Context, part targets.Span) (io.ReadCloser, error) { return e.Log(ctx, in, part) },
		Now:  func(ctx context.Context) (targets.Position, error) { return e.Now(ctx, in) }}, err
}

// Halves are tagged global transactions of which a part is lost.
type Halves struct {
	List []Half `json:"list,omitempty"`
	// Unknown says of which shards it is not known, and why.
	Unknown []string `json:"unknown,omitempty"`
}

// Words tell what is half done, and of which shards that is not known.
func (h *Halves) Words() (out []string) {
	if h == nil {
		return nil
	}

	for _, x := range h.List {
		out = append(out, x.Words())
	}

	for _, why := range h.Unknown {
		out = append(out, "which global transactions are half done is not known of "+why)
	}

	return out
}

// Halves lists what a failover left half done of tagged transactions, from where the new primaries have left
// the old timelines. A standby that was far behind has lost the parts of all that time: all logs are read from before
// the first instant at which one may lack something. held are later instants at which a shard was seen to lack nothing.
func (a Resolver) Halves(ctx context.Context, d plan.Definition, forks map[targets.ShardID]targets.Position, held map[targets.ShardID]time.Time) *Halves {
	from := a.sources(ctx, d, forks)
	since := time.Now()

	for i := range from {
		if from[i].why != "" {
			continue
		}

		at, err := from[i].Ended(ctx)
		if err != nil {
			from[i].why = err.Error()
			continue
		}

		if later := held[from[i].Shard]; later.After(at) { // one that is hardly used
			at = later
		}

		if at.Before(since) {
			since = at
		}
	}

	return told(read(ctx, from, since.Add(-lately)), since)
}

// told are the halves of logs that are to be read from before a time on.
func told(logs []Log, since time.Time) *Halves {
	var h Halves

	for _, l := range logs {
		switch {
		case l.Why != "":
			h.Unknown = append(h.Unknown, l.Shard.String()+": "+l.Why)
		case !l.All && l.Since.Add(Apart).After(since): // an archive that has just begun knows nothing of before
			h.Unknown = append(h.Unknown, fmt.Sprintf("%s: its log was read from %s on only", l.Shard, l.Since.UTC().Format(time.RFC3339)))
		}
	}
	h.List = HalfDone(logs)

	return &h
}
