package halfdone

import (
	"context"
	"errors"
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

	var list []targets.InDoubt

	for back := backAtFirst; back <= backAtMost; back *= 6 {
		logs := a.logs(ctx, d, forks, func(Source) (time.Time, error) { return oldest.Add(-back), nil })

		list = Decide(doubts, logs, rule)[id]
		if !slices.ContainsFunc(list, func(x targets.InDoubt) bool { return x.Action == targets.InDoubtLeave }) {
			break
		}
	}

	return list
}

// gids is the rule by which the group's gids belong together.
func (a Resolver) gids(d plan.Definition) (*regexp.Regexp, error) {
	g, err := a.Platform.Group(d.Group)
	if err != nil || g.Policy.GIDs == "" {
		return nil, err
	}

	return regexp.Compile(g.Policy.GIDs)
}

// logs reads the logs of all new primaries that have transactions, up to where they left the old timelines.
// A shard of the plan that has no fork has none that was read.
func (a Resolver) logs(ctx context.Context, d plan.Definition, forks map[targets.ShardID]targets.Position, since func(Source) (time.Time, error)) []Log {
	var ids []targets.ShardID

	for _, s := range d.Steps {
		if s.Do == plan.OpPromote && a.Logs[s.Kind] != nil {
			ids = append(ids, s.On)
		}
	}
	out := make([]Log, len(ids))

	var all errgroup.Group
	all.SetLimit(8)

	for i, id := range ids {
		all.Go(func() error {
			out[i] = Log{Shard: id}

			src, err := a.source(ctx, d, id, forks[id])
			if err == nil {
				var from time.Time
				if from, err = since(src); err == nil {
					out[i] = src.Read(ctx, from)
				}
			}

			if err != nil {
				out[i].Why = err.Error()
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
		Rest: func(ctx context.Context, part targets.Span) (io.ReadCloser, error) { return e.Log(ctx, in, part) }}, err
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
// the old timelines.
func (a Resolver) Halves(ctx context.Context, d plan.Definition, forks map[targets.ShardID]targets.Position) *Halves {
	logs := a.logs(ctx, d, forks, func(s Source) (time.Time, error) {
		t, err := s.Ended(ctx)
		return t.Add(-lately), err
	})

	var h Halves
	for _, l := range logs {
		if l.Why != "" {
			h.Unknown = append(h.Unknown, l.Shard.String()+": "+l.Why)
		}
	}
	h.List = HalfDone(logs)

	return &h
}
