package observation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proof/clock"
	"drctl/targets"
)

// format is the version of the stored form of a batch.
const format = 1

// batchJSON is the stored form.
type batchJSON struct {
	Version  int           `json:"v"`
	Group    string        `json:"group"`
	Observer string        `json:"observer"`
	Queue    string        `json:"queue,omitempty"`
	Since    clock.Instant `json:"since_ns"`
	Until    clock.Instant `json:"until_ns"`
	Began    int64         `json:"began_unix_ns"`
	Ended    int64         `json:"ended_unix_ns"`
	Shards   []seenJSON    `json:"shards"`
	Noted    int64         `json:"noted_unix_ns,omitempty"`
	Holes    []holeJSON    `json:"holes,omitempty"`
}

type holeJSON struct {
	Shard targets.ShardID `json:"shard"`
	From  int64           `json:"from_unix_ns"`
	To    int64           `json:"to_unix_ns"`
	Least int64           `json:"least_ns,omitempty"`
	Most  int64           `json:"most_ns,omitempty"`
	Why   string          `json:"why,omitempty"`
}

type seenJSON struct {
	Shard   targets.ShardID `json:"shard"`
	Kind    targets.Kind    `json:"kind"`
	Server  string          `json:"server,omitempty"`
	Trouble string          `json:"trouble,omitempty"`
	Runs    []runJSON       `json:"runs,omitempty"`
}

// runJSON are observations one after the other on one timeline. A row is perRow numbers:
// T0, T1-T0, the stamp, the wall clock, Inserted, Flushed-Inserted, and 1 if
// paused. T0, stamp, wall clock and Inserted less those of the row before,
// also where that is of another run; the first row of a shard less Since, 0, Began and 0.
type runJSON struct {
	Timeline string  `json:"lineage"`
	Rows     []int64 `json:"rows"`
}

const perRow = 7

// zero is what the first row of a shard is written less.
func (b Batch) zero() Observation {
	return Observation{Sample: clock.Sample{T0: b.Since, Wall: clock.Stamp(b.Began.UnixNano())}}
}

// Encode writes a batch in some 40 bytes an observation. It fails with invalid
// for one that could not be read again.
func Encode(b Batch) ([]byte, error) {
	if err := b.Check(); err != nil {
		return nil, fail.New(fail.Invalid, "observation: write", b.Group, "", err)
	}

	out := batchJSON{Version: format, Group: b.Group, Observer: b.Observer, Queue: b.Queue, Since: b.Since, Until: b.Until,
		Began: b.Began.UnixNano(), Ended: b.Ended.UnixNano(), Shards: make([]seenJSON, len(b.Shards))}

	for i, s := range b.Shards {
		out.Shards[i] = seenJSON{Shard: s.Shard, Kind: s.Kind, Server: s.Server, Trouble: s.Trouble, Runs: runs(b.zero(), s.Observations)}
	}

	if !b.Noted.IsZero() {
		out.Noted = b.Noted.UnixNano()
	}

	for _, h := range b.Holes {
		out.Holes = append(out.Holes, holeJSON{h.Shard, h.From.UnixNano(), h.To.UnixNano(), int64(h.Least), int64(h.Most), h.Why})
	}

	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)

	if err := e.Encode(out); err != nil {
		return nil, fail.New(fail.Internal, "observation: write", b.Group, "", err)
	}

	return buf.Bytes(), nil
}

func runs(last Observation, all []Observation) (out []runJSON) {
	for i, o := range all {
		if i == 0 || o.Timeline != last.Timeline {
			out = append(out, runJSON{Timeline: o.Timeline})
		}
		r := &out[len(out)-1]

		var paused int64
		if o.Paused {
			paused = 1
		}
		r.Rows = append(r.Rows, int64(o.T0-last.T0), int64(o.T1-o.T0), int64(o.Stamp-last.Stamp), int64(o.Wall-last.Wall),
			int64(o.Inserted-last.Inserted), int64(o.Flushed-o.Inserted), paused)

		last = o
	}

	return out
}

// Decode is the inverse of Encode. It believes nothing: the error has code unsupported for a
// later version of the form, and corrupt for what no observer writes.
func Decode(content []byte) (Batch, error) {
	const op = "observation: read"

	var in batchJSON
	if err := json.Unmarshal(content, &in); err != nil {
		return Batch{}, fail.New(fail.Corrupt, op, "", "", err)
	}

	if in.Version != format {
		return Batch{}, fail.New(fail.Unsupported, op, "", "use a later drctl", fmt.Errorf("format %d of the observations is unknown", in.Version))
	}

	b := Batch{Group: in.Group, Observer: in.Observer, Queue: in.Queue, Since: in.Since, Until: in.Until,
		Began: time.Unix(0, in.Began).UTC(), Ended: time.Unix(0, in.Ended).UTC(), Shards: make([]Seen, len(in.Shards))}

	for i, s := range in.Shards {
		seen, err := observations(b.zero(), s.Runs)
		if err != nil {
			return Batch{}, fail.New(fail.Corrupt, op, "", "", err)
		}
		b.Shards[i] = Seen{Shard: s.Shard, Kind: s.Kind, Server: s.Server, Trouble: s.Trouble, Observations: seen}
	}

	if in.Noted != 0 {
		b.Noted = time.Unix(0, in.Noted).UTC()
	}

	for _, h := range in.Holes {
		b.Holes = append(b.Holes, Hole{h.Shard, time.Unix(0, h.From).UTC(), time.Unix(0, h.To).UTC(), time.Duration(h.Least), time.Duration(h.Most), h.Why})
	}

	if err := b.Check(); err != nil {
		return Batch{}, fail.New(fail.Corrupt, op, "", "", err)
	}

	return b, nil
}

func observations(last Observation, runs []runJSON) (out []Observation, err error) {
	for _, r := range runs {
		if len(r.Rows) == 0 || len(r.Rows)%perRow != 0 {
			return nil, fmt.Errorf("%d numbers are no rows of %d", len(r.Rows), perRow)
		}

		for n := r.Rows; len(n) > 0; n = n[perRow:] {
			if len(out) == MaxObservations {
				return nil, errors.New("too many rows")
			}

			if n[6]&^1 != 0 {
				return nil, fmt.Errorf("%d is neither paused nor not", n[6])
			}

			last = Observation{Timeline: r.Timeline, Inserted: last.Inserted + uint64(n[4]), Paused: n[6] == 1,
				Sample: clock.Sample{T0: last.T0 + clock.Instant(n[0]), Stamp: last.Stamp + clock.Stamp(n[2]), Wall: last.Wall + clock.Stamp(n[3])}}
			last.T1, last.Flushed = last.T0+clock.Instant(n[1]), last.Inserted+uint64(n[5])
			out = append(out, last)
		}
	}

	return out, nil
}
