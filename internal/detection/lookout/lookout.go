package lookout

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"drctl/internal/detection"
	"drctl/internal/detection/board"
	"drctl/internal/epoch"
	"drctl/internal/logs"
	"drctl/targets"
)

// wellEvery is how often a place says that all is well.
const wellEvery = time.Minute

// Shard is a part of the group that has a log, and where it has instances.
type Shard struct {
	ID      targets.ShardID
	Kind    targets.Kind
	Regions []string // the configured primary's first
}

// Link is what a standby says of its primary.
type Link struct {
	// Up says that a connection to the primary stands, as far as the standby knows.
	Up bool
	// Silent is how long ago the last bytes came.
	Silent time.Duration
}

// Options say what is looked at, and from where.
type Options struct {
	Group string
	// Place is the vantage point, Places are all of them, and Process tells this one from
	// others of the place.
	Place, Process  string
	Places          []string
	Rules           detection.Rules
	Interval, Limit time.Duration
	Home            string
	Shards          []Shard
	Instance        func(ctx context.Context, id targets.ShardID, region string) (targets.Instance, error)
	Driver          func(targets.Kind) (targets.Driver, error)
	// Link asks a standby whether it still gets bytes of its primary.
	Link func(ctx context.Context, d targets.Driver, primary, standby targets.Instance) (Link, error)
	// Session opens what a server that takes writes is asked with from then on; nil asks
	// each time as for the first time.
	Session func(ctx context.Context, d targets.Driver, in targets.Instance) (Session, error)
	// Left ends what Link keeps, once nobody looks any more; it may be nil.
	Left  func()
	Board *board.Board
	// Epochs is nil where there are not voters enough.
	Epochs *epoch.Log
	// Judged is told of each look, and has to return soon.
	Judged func(context.Context, Seen)
	Log    *slog.Logger
}

// Seen is what one look came to.
type Seen struct {
	Verdict detection.Verdict
	// Epochs are those of the group as they were read in this look; Known says that they were.
	Epochs epoch.State
	Known  bool
}

// Lookout looks at one group.
type Lookout struct {
	o       Options
	memory  detection.Memory
	verdict detection.Verdict
	region  string // that is looked at
	own     detection.Heard
	heard   []detection.Heard
	told    string // what was last said, in short
	toldAt  time.Duration
	turn    int

	epochs  epoch.State
	read    time.Duration // when the epochs were read
	renewed time.Duration // when a renewal was last new
	nonce   string

	mu        sync.Mutex
	instances map[string]cached
	sessions  map[string]session
}

// New makes a lookout. It asks nobody yet.
func New(o Options) *Lookout {
	return &Lookout{o: o, region: o.Home, instances: map[string]cached{}, sessions: map[string]session{}}
}

// Run looks until the context ends.
func (l *Lookout) Run(ctx context.Context) {
	defer func() {
		l.leave()

		if l.o.Left != nil {
			l.o.Left()
		}
	}()

	tick := time.NewTicker(l.o.Interval)
	defer tick.Stop()

	for ctx.Err() == nil {
		l.once(ctx)

		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// once looks, says, hears and judges.
func (l *Lookout) once(ctx context.Context) {
	began, wall := epoch.Boot(), time.Now()

	sightings := l.look(ctx)
	doubt := l.doubt(sightings)

	fresh := false
	if l.o.Epochs != nil && (doubt || l.read == 0 || began-l.read > 5*l.o.Interval) {
		fresh = l.readEpochs(ctx)
	}

	if s, ok := l.lease(fresh); ok {
		sightings = append(sightings, s)
	}
	l.own = detection.Heard{Vote: detection.Vote{Place: l.o.Place, Process: l.o.Process, Region: l.region, Wall: wall, Sightings: sightings,
		State: l.verdict.State, Since: l.verdict.Since, Reasons: l.verdict.Reasons}, At: began}

	var wait sync.WaitGroup
	wait.Go(func() { l.say(ctx, doubt) })

	voters := l.hear(ctx, doubt)

	wait.Wait()

	if ctx.Err() != nil {
		return
	}

	look := detection.Look{Now: epoch.Boot(), Wall: time.Now(), Region: l.region, Voters: voters, Votes: []detection.Heard{l.own}}
	for _, h := range l.heard {
		if h.Place != l.o.Place || h.Process != l.o.Process {
			look.Votes = append(look.Votes, h)
		}
	}

	for _, s := range l.o.Shards {
		if slices.Contains(s.Regions, l.region) {
			look.Shards = append(look.Shards, s.ID)
		}
	}

	was := l.memory

	var v detection.Verdict
	l.memory, v = detection.Judge(l.o.Rules, l.memory, look)
	l.verdict = v
	l.tell(ctx, was, v)

	if l.o.Judged != nil {
		l.o.Judged(ctx, Seen{Verdict: v, Epochs: l.epochs, Known: fresh})
	}

	l.turnTo(v)
}

// doubt reports whether anybody sees anything but life.
func (l *Lookout) doubt(own []detection.Sighting) bool {
	odd := func(s detection.Sighting) bool { return s.Kind != detection.Link && s.Saw != detection.Alive }
	if slices.ContainsFunc(own, odd) || l.memory.State() != detection.Up {
		return true
	}

	now := epoch.Boot()

	return slices.ContainsFunc(l.heard, func(h detection.Heard) bool {
		return h.Region == l.region && now-h.At < l.o.Rules.Stale && slices.ContainsFunc(h.Sightings, odd)
	})
}

// say tells the other places what was seen: what is new at once, and while anybody is in
// doubt each time.
func (l *Lookout) say(ctx context.Context, doubt bool) {
	now, text := epoch.Boot(), l.region+" "+string(l.verdict.State)
	for _, s := range l.own.Sightings {
		if s.Kind != detection.Link { // the link of an idle server is silent at times
			text += " " + s.Server + " " + string(s.Saw)
		}
	}

	if !doubt && text == l.told && now-l.toldAt < wellEvery {
		return
	}

	if err := l.o.Board.Say(ctx, l.own.Vote); err != nil {
		l.o.Log.DebugContext(ctx, "detection: nobody can be told what was seen", "group", l.o.Group, logs.Err, err)
		return
	}
	l.told, l.toldAt = text, now
}

// hear reads what others saw: of all voters while there is doubt, else of one after the
// other. It reports whether a majority of the voters has answered.
func (l *Lookout) hear(ctx context.Context, doubt bool) bool {
	var of []int
	if !doubt {
		of = []int{l.turn}
		l.turn++
	}

	heard, n, err := l.o.Board.Hear(ctx, l.o.Places, of...)
	if err != nil {
		l.o.Log.DebugContext(ctx, "detection: not all voters have told what others saw", "group", l.o.Group, logs.Err, err)
	}
	l.heard = heard

	return !doubt || l.o.Board.Majority(n)
}

// readEpochs reads the epochs, and turns to the region that holds the present one.
func (l *Lookout) readEpochs(ctx context.Context) bool {
	began := epoch.Boot()

	c, cancel := context.WithTimeout(ctx, l.o.Limit)
	defer cancel()

	st, err := l.o.Epochs.Read(c)
	if err != nil {
		l.o.Log.DebugContext(ctx, "detection: the epochs cannot be read", "group", l.o.Group, logs.Err, err)
		return false
	}

	if st.Present.Nonce != l.nonce || l.renewed == 0 {
		l.nonce, l.renewed = st.Present.Nonce, began
	}
	l.epochs, l.read = st, began

	if h := st.Present.Holder; h != "" {
		l.watch(h)
	}

	return true
}

// lease is what the voters say of the region's guards: silent for two thirds of their lease is
// a vote. ok is false where there are no guards, or no majority answers.
func (l *Lookout) lease(fresh bool) (s detection.Sighting, ok bool) {
	p := l.epochs.Present
	if !fresh || p.Holder != l.region || !slices.ContainsFunc(l.epochs.Guards, func(g epoch.Guard) bool {
		return g.Holder == l.region && g.Epoch == p.Epoch && len(g.Instances) > 0
	}) {
		return s, false
	}

	silent := epoch.Boot() - l.renewed
	if silent < time.Duration(p.Lease)*2/3 {
		return s, false
	}

	return detection.Sighting{Kind: detection.Lease, Server: "guards of " + l.region, Saw: detection.Dead,
		Why: "no renewal for " + silent.Round(100*time.Millisecond).String()}, true
}

// watch looks at a region from now on.
func (l *Lookout) watch(region string) {
	if region != l.region {
		l.leave()
		l.region, l.memory, l.verdict, l.told = region, detection.Memory{}, detection.Verdict{}, ""
	}
}

// turnTo finds the region whose servers take writes where there are no epochs.
func (l *Lookout) turnTo(v detection.Verdict) {
	if l.o.Epochs != nil && l.epochs.Present.Epoch > 0 || v.State != detection.Up {
		return
	}

	for _, s := range l.own.Sightings {
		if s.Why == standsBy {
			l.watch(l.other(s.Shard))
			return
		}
	}
}

// other is the region after the present one.
func (l *Lookout) other(id targets.ShardID) string {
	for _, s := range l.o.Shards {
		if i := slices.Index(s.Regions, l.region); s.ID == id && i >= 0 {
			return s.Regions[(i+1)%len(s.Regions)]
		}
	}

	return l.region
}

// tell logs a state once it is another.
func (l *Lookout) tell(ctx context.Context, was detection.Memory, v detection.Verdict) {
	if was.State() == v.State || was.State() == "" && v.State == detection.Unknown {
		return
	}

	level := slog.LevelWarn

	switch {
	case was.State() == "" && v.State == detection.Up, was.State() == detection.Unknown && v.State == detection.Up:
		level = slog.LevelDebug // it has begun to look
	case v.State == detection.Up:
		level = slog.LevelInfo
	}

	l.o.Log.Log(ctx, level, "detection: "+v.Region+" is "+string(v.State), "group", l.o.Group, "place", l.o.Place, "reasons", v.Reasons)
}
