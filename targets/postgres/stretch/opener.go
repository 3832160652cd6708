package stretch

import (
	"io"
	"strconv"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/proof/shardlog"
	"drctl/targets"
	"drctl/targets/postgres/wal"
)

// Opener opens the logs of PostgreSQL servers.
type Opener struct{}

var _ shardlog.Opener = Opener{}

// LogStart is where the next page starts.
func (Opener) LogStart(offset uint64) uint64 {
	return (offset + wal.PageSize - 1) &^ (wal.PageSize - 1)
}

// OpenLog begins to read a log. Timelines are named as in positions, and of one
// cluster. The size of a segment is learned from the log.
func (Opener) OpenLog(o shardlog.Options) (shardlog.Log, error) {
	options := wal.Options{Start: wal.LSN(o.Start)}

	for _, t := range o.Timelines {
		system, id, err := targets.ParsePostgresTimeline(t.Name)
		if err != nil {
			return nil, fail.New(fail.Invalid, opRead, o.Shard.String(), "", err)
		}

		number, err := strconv.ParseUint(system, 10, 64)
		if err != nil || options.System != 0 && options.System != number {
			return nil, fail.Newf(fail.Invalid, opRead, o.Shard.String(), "timeline %s is not of the cluster", t.Name)
		}
		options.System = number
		options.Timelines = append(options.Timelines, wal.Timeline{ID: id, Begin: wal.LSN(t.Begin)})
	}

	if len(options.Timelines) == 0 {
		return nil, fail.Newf(fail.Invalid, opRead, o.Shard.String(), "name the timeline of the log")
	}

	l, err := Open(o.Shard, o.Timelines[len(o.Timelines)-1].Name, options)
	if err != nil {
		return nil, err
	}

	return &shardLog{log: l, begin: o.Timelines[len(o.Timelines)-1].Begin, first: len(o.Timelines) == 1}, nil
}

// shardLog is a Log in the values of the contract.
type shardLog struct {
	log   *Log
	begin uint64 // of the timeline of the stretches,
	first bool   // unless it is the first that is read
}

func (s *shardLog) Feed(src io.Reader) error { return s.log.Feed(src) }

func (s *shardLog) Forget(before uint64) { s.log.Forget(wal.LSN(before)) }

func (s *shardLog) Stretch(from uint64, seen []observation.Observation) (*shardlog.Result, error) {
	if !s.first && from < s.begin {
		return nil, fail.Newf(fail.Invalid, opRead, s.log.shard.String(), "the stretch begins at %d, before its timeline does at %d", from, s.begin)
	}
	id := s.log.options.Timelines[len(s.log.options.Timelines)-1].ID

	var of []Observation
	for _, o := range seen {
		if o.Timeline == s.log.timeline {
			of = append(of, Observation{Sample: o.Sample, Timeline: id, Flush: wal.LSN(o.Flushed), Insert: wal.LSN(o.Inserted)})
		}
	}

	return s.log.Stretch(wal.LSN(from), of), nil
}
