package readiness

import (
	"slices"
	"time"

	"drctl/internal/engine"
	"drctl/restore/served"
	"drctl/targets"
)

// Engine is what the engine says of a group.
type Engine struct {
	Err error // nothing could be asked; the rest is empty
	// Embedded says that drctl up runs it, and the workers with it.
	Embedded bool
	Regions  []Region
	// Queues are what has to be served besides those of the regions.
	Queues    []served.Queue
	Archivers map[targets.ShardID]Archiver
	// Observer is nil when the group has nothing to observe.
	Observer *Observer
	Running  []engine.Run // everything of the platform that runs there
	// Other are the ids of what runs besides archivers, observers and the schedules' own runs.
	Other []string
	// TakingBase says that a backup of the group runs.
	TakingBase bool
	Jobs       []Job // of this group, archivers apart
	Cuts       engine.Streak
	Bases      map[targets.ShardID]engine.Streak
	Schedules  []Schedule
	// Silent are questions that were not answered.
	Silent []error
}

// Region is a region's task queue and when it was last asked for work.
type Region struct {
	Region, Queue string
	Polled        time.Time
}

// Archiver is the run that follows a shard's log.
type Archiver struct {
	Missing bool // none runs
	Err     error
	Started time.Time
	// Follow is its activity; nil when the engine has none.
	Follow *engine.Pending
	Streak engine.Streak // of attempts that the engine has given up
	// Again is how long after one of those the next is made.
	Again time.Duration
}

// Job is an activity that runs or waits.
type Job struct {
	engine.Pending
	Name string // what it does, for people: "base"
	// Cut says that it belongs to a cut, which is tried again as a whole.
	Cut bool
	// Moves says that it shows that it works by its progress.
	Moves bool
}

// RunKind is what a schedule starts.
type RunKind string

// The kinds of what runs by itself.
const (
	CutRuns       RunKind = "cut"
	BaseRuns      RunKind = "base"
	CheckRuns     RunKind = "check"
	RetentionRuns RunKind = "retention"
	DrillRuns     RunKind = "drill"
)

// Schedule is one schedule and what its runs came to.
type Schedule struct {
	engine.Schedule
	Kind    RunKind
	Drill   string // its name
	Missing bool
	Created time.Time
	Paused  bool
	Note    string        // why it is paused
	Streak  engine.Streak // of what it starts
	Newest  engine.Closed // of what it starts
	Runs    engine.Streak // of the schedule's own runs
}

// waiting are the runs on a queue, the oldest first.
func (f Engine) waiting(queue string) []engine.Run {
	var out []engine.Run
	for _, r := range f.Running {
		if r.Queue == queue {
			out = append(out, r)
		}
	}

	slices.SortFunc(out, func(x, y engine.Run) int { return x.Started.Compare(y.Started) })

	return out
}
