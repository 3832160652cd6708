package detecting

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/serve"
	"drctl/config"
	"drctl/internal/detection"
	"drctl/internal/detection/lookout"
	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/observation"
	"drctl/internal/retry"
	"drctl/targets"
	"drctl/targets/all"
	"drctl/targets/handover"
)

// openAgain is how long is waited until vaults that did not answer are asked again.
const openAgain = 5 * time.Second

// sayAfter is after how long it is said that a vault does not answer, and that nobody looks.
const sayAfter = time.Minute

// skew is how far clocks of places may be apart.
const skew = 2 * time.Second

// Watch runs a vantage point for every group until the context ends. judged makes what is
// told of each look of a group; it may be nil.
func Watch(ctx context.Context, p *configured.Platform, place string, judged func(group string) func(context.Context, lookout.Seen), log *slog.Logger) {
	if p.Config.Detection.Off {
		log.InfoContext(ctx, "detection is off in the configuration")
		return
	}

	var groups sync.WaitGroup
	defer groups.Wait()

	for _, g := range p.Config.GroupNames() {
		groups.Go(func() {
			began := time.Now()

			for said := ""; ctx.Err() == nil; {
				l, err := open(ctx, p, place, g, judged, log)
				if err == nil && l != nil {
					l.Run(ctx)
				}

				if err == nil {
					return
				}

				// What ends by itself is not said, unless it does not end.
				if text := err.Error(); text != said && (!fail.Retryable(err) || time.Since(began) > sayAfter) {
					said = text

					log.ErrorContext(ctx, "detection: nobody looks at the group", "group", g, logs.Err, err)
				}
				_ = retry.Sleep(ctx, openAgain)
			}
		})
	}
}

// open makes the lookout of a group; nil for one that could not move.
func open(ctx context.Context, p *configured.Platform, place, group string, judged func(string) func(context.Context, lookout.Seen), log *slog.Logger) (*lookout.Lookout, error) {
	g, err := p.Group(group)
	if err != nil {
		return nil, err
	}
	d := p.Config.Detection

	o := lookout.Options{Group: group, Place: place, Process: process(), Places: places(p.Config),
		Rules:    rules(d.Lost, d.Up, d.Stale(), d.Votes),
		Interval: d.Interval, Limit: d.Limit, Home: g.Home, Instance: p.Instance, Log: log}

	for _, s := range g.Shards {
		if regions := p.Regions(s.Shard); s.Kind.Traits().Log && len(regions) > 1 {
			o.Shards = append(o.Shards, lookout.Shard{ID: s.Shard, Kind: s.Kind, Regions: regions})
		}
	}

	if len(o.Shards) == 0 {
		return nil, nil
	}

	if o.Board, err = p.Board(ctx, group); err != nil {
		return nil, err
	}

	if p.Witnessed() {
		if o.Epochs, err = p.Epochs(ctx, group); err != nil {
			return nil, err
		}
	}

	drivers := map[targets.Kind]targets.Driver{}
	for _, d := range all.Drivers(all.Options{Tools: p.Programs, Log: log}) {
		drivers[d.Kind()] = d
	}

	asks := &links{hands: map[string]handover.Switch{}}
	o.Link, o.Left, o.Session = asks.ask, asks.close, asking(observation.NewObserver())
	o.Driver = func(k targets.Kind) (targets.Driver, error) {
		if d, ok := drivers[k]; ok {
			return d, nil
		}

		return nil, fail.Newf(fail.Unsupported, "driver", string(k), "this build knows no such kind of store")
	}

	if judged != nil {
		o.Judged = judged(group)
	}

	return lookout.New(o), nil
}

// process tells this one from all others of the place: two machines may have one name, and in a
// container each process is number one.
func process() string {
	return fmt.Sprintf("%s, process %d (%s)", serve.Hostname(), os.Getpid(), strings.ToLower(rand.Text()[:6]))
}

func rules(lost, up, stale time.Duration, votes int) detection.Rules {
	return detection.Rules{Lost: lost, Up: up, Stale: stale, Skew: skew, Votes: votes, Window: 20 * up}
}

// places are all vantage points.
func places(cfg *config.Config) []string {
	return append(slices.Clone(cfg.RegionNames()), cfg.Detection.Places...)
}
