package observing

import (
	"context"
	"log/slog"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/platform"
	"drctl/internal/topology"
	"drctl/internal/vault"
	"drctl/internal/watch"
	"drctl/targets"
)

// Name is what the activity is registered under.
const Name = "ObserveGroup"

const (
	// observeFor is how long one activity observes before it hands over to the next, so
	// that histories stay short and changes of the configuration are noticed.
	observeFor = time.Hour
	// linger is how long the observer goes on without an activity.
	linger = time.Minute
	// maxFailing bounds the shards that a beat names.
	maxFailing = 50
)

// In names the group.
type In struct {
	Group string `json:"group"`
}

// Out says where it was observed.
type Out struct {
	// Queue is the task queue of the host, where the observer may still be.
	Queue string `json:"queue"`
}

// Beat is what the activity reports.
type Beat struct {
	Observer string `json:"observer"`
	// Queue is the task queue of the host: cuts are taken there.
	Queue    string `json:"queue"`
	Observed int    `json:"observed"` // shards
	// Failing are shards that are not observed, the first of FailingCount.
	Failing      []Failing `json:"failing,omitempty"`
	FailingCount int       `json:"failing_count,omitempty"`
	// Trouble says what is wrong with keeping what was observed.
	Trouble string `json:"trouble,omitempty"`
}

// Failing is a shard that is not observed.
type Failing struct {
	Shard targets.ShardID `json:"shard"`
	Since time.Time       `json:"since"`
	Error string          `json:"error"`
}

// Activities serves the activity of one worker.
type Activities struct {
	Platform platform.Resolver
	Drivers  map[targets.Kind]targets.Driver
	// HostQueue is the task queue that only this host serves.
	HostQueue string
	// Running are the observers of this process.
	Running *watch.Running
	Log     *slog.Logger
}

// Register registers the activities.
func (a *Activities) Register(r worker.ActivityRegistry) {
	r.RegisterActivityWithOptions(a.Observe, activity.RegisterOptions{Name: Name})
	r.RegisterActivityWithOptions(a.Find, activity.RegisterOptions{Name: FindName})
}

// errStopping ends an activity whose worker stops.
var errStopping = fail.Newf(fail.Unavailable, "worker", "", "the worker is stopping; another goes on")

// Observe observes a group until its time is up, it is cancelled, or the worker stops.
func (a *Activities) Observe(ctx context.Context, in In) (Out, error) {
	err := a.observe(ctx, in)
	return Out{Queue: a.HostQueue}, engine.EncodeError(err)
}

func (a *Activities) observe(ctx context.Context, in In) error {
	g, err := a.Platform.Group(in.Group)
	if err != nil {
		return err
	}
	w, letGo := a.Running.Hold(a.options(g))

	stopping := activity.GetWorkerStopChannel(ctx)
	up := time.NewTimer(observeFor)
	defer up.Stop()

	// Every exchange has a time-out of its own, so that this may beat by the clock.
	beat := time.NewTicker(2 * time.Second)
	defer beat.Stop()

	for {
		activity.RecordHeartbeat(ctx, beatOf(w.State(), a.HostQueue))

		select {
		case <-beat.C:
		case <-up.C:
			letGo(linger)
			return nil
		case <-stopping:
			letGo(0)
			return errStopping
		case <-ctx.Done():
			letGo(0)
			return ctx.Err()
		}
	}
}

func beatOf(st watch.State, queue string) Beat {
	b := Beat{Observer: st.Observer, Queue: queue, Observed: st.Observed, FailingCount: len(st.Failing), Trouble: st.Trouble}
	for _, f := range st.Failing[:min(len(st.Failing), maxFailing)] {
		b.Failing = append(b.Failing, Failing{Shard: f.Shard, Since: f.Since, Error: f.Err})
	}

	return b
}

// options are what to observe of a group.
func (a *Activities) options(g platform.Group) watch.Options {
	o := watch.Options{Group: g.Name, Queue: a.HostQueue, Resolve: a.resolve, Log: a.Log,
		Vaults: func(ctx context.Context) (vault.Set, error) { return a.Platform.Set(ctx, g.Name, g.Home) }}

	for _, s := range g.Shards {
		if s.Kind.Traits().Log {
			o.Shards = append(o.Shards, watch.Shard{Shard: s.Shard, Kind: s.Kind})
		}
	}

	return o
}

// resolve finds a shard's primary and what connects to it.
func (a *Activities) resolve(ctx context.Context, shard targets.ShardID) (targets.Instance, observation.Observable, error) {
	in, d, err := topology.Finder{Platform: a.Platform, Driver: a.driver, Log: a.Log}.Primary(ctx, shard)
	if err != nil {
		return in, nil, err
	}

	o, ok := d.(observation.Observable)
	if !ok {
		return in, nil, fail.Newf(fail.Unsupported, "observe", in.String(), "a store of kind %s cannot be observed", in.Kind)
	}

	return in, o, nil
}

func (a *Activities) driver(k targets.Kind) (targets.Driver, error) {
	if d, ok := a.Drivers[k]; ok {
		return d, nil
	}

	return nil, fail.Newf(fail.Unsupported, "driver", string(k), "this build knows no such kind of store")
}
