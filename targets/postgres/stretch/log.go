package stretch

import (
	"cmp"
	"errors"
	"io"
	"math"
	"slices"
	"sort"

	"drctl/internal/proof"
	"drctl/internal/proof/shardlog"
	"drctl/targets"
	"drctl/targets/postgres/wal"
)

// Log is a shard's log that is read bit by bit. What it says does not depend on how
// many pieces it was fed in. It is not safe for concurrent use.
type Log struct {
	shard    targets.ShardID
	timeline string
	options  wal.Options
	src      swap
	log      *wal.Reader
	xacts    wal.Transactions
	records  []proof.Record // all that were decided or prepared
	places   []place        // at which a stretch can begin, in order
	exact    wal.LSN        // the first record at or behind it is such a place
	last     wal.LSN        // where the last record ends; 0 before the first
	known    wal.LSN        // from where on all transactions are known; 0 while there is none
	floor    wal.LSN        // what lies before was forgotten
}

// place is where a record begins, and where the one before it ends: between the two there
// are headers of pages at most, or the rest of a segment.
type place struct{ start, before wal.LSN }

// swap is a source of which the bytes come from one reader after the other.
type swap struct{ io.Reader }

// Open begins to read a log. What cannot be an option is invalid.
func Open(shard targets.ShardID, timeline string, o wal.Options) (*Log, error) {
	o.All = true // where a record begins matters, whatever it is
	l := &Log{shard: shard, timeline: timeline, options: o, exact: math.MaxUint64}

	var err error
	l.log, err = wal.NewReader(&l.src, o)

	return l, err
}

// Feed reads what follows, to its end.
func (l *Log) Feed(src io.Reader) error {
	_, err := l.read(src, math.MaxUint64)
	return err
}

// end is where a stretch ends, and where the first record behind it begins, or would begin.
type end struct{ to, next wal.LSN }

// read reads up to a place, or to where the source ends before that.
func (l *Log) read(src io.Reader, until wal.LSN) (end, error) {
	l.src.Reader = src

	for {
		rec, err := l.log.Next()
		if errors.Is(err, io.EOF) {
			e := l.end()
			return end{min(until, e.to), e.next}, nil
		}

		if err != nil {
			return end{}, err
		}

		if rec.End > until { // one that lies across it is not in the stretch
			return end{min(until, rec.Start), rec.Start}, nil
		}

		if err := l.add(rec); err != nil {
			return end{}, err
		}
	}
}

// end is where the log that was read ends. Where that is, is known once a record was read.
func (l *Log) end() end {
	if l.last == 0 {
		return end{}
	}
	next := l.log.NextStart()

	return end{next, next}
}

func (l *Log) add(rec wal.Record) error {
	before := l.last
	l.last = rec.End

	step, err := l.xacts.Add(rec)
	if err != nil {
		return err
	}

	if at, ok := l.xacts.KnowsFrom(); ok && l.known == 0 {
		l.known = at
	}
	said := false

	if x := step.Transaction; x != nil {
		if kind, ok := kinds[x.Outcome]; ok {
			l.records = append(l.records, record(x, kind))
			said = true
		}
	}

	// A place on each page is enough, and where something is said.
	if said || before == 0 || before/wal.PageSize != rec.Start/wal.PageSize || rec.Start >= l.exact {
		if rec.Start >= l.exact {
			l.exact = math.MaxUint64
		}

		if before == 0 {
			before = rec.Start
		}
		l.places = append(l.places, place{rec.Start, before})
	}

	return nil
}

// begin is the first place at or behind an offset at which a stretch can begin, and false
// if there is none up to where it ends.
func (l *Log) begin(from, to wal.LSN) (place, bool) {
	from = max(from, l.floor)

	i := sort.Search(len(l.places), func(i int) bool { return l.places[i].start >= from })
	if i < len(l.places) && l.places[i].start <= to {
		return l.places[i], true
	}

	if to == 0 || to < from {
		return place{}, false
	}

	return place{to, cmp.Or(l.last, to)}, true
}

// Forget lets go of the places before an offset, and of the commits there that
// no global transaction knows.
func (l *Log) Forget(before wal.LSN) {
	if l.floor = max(l.floor, before); len(l.places) == 0 {
		return
	}

	i := sort.Search(len(l.places), func(i int) bool { return l.places[i].start >= before })
	l.places = slices.Clone(l.places[i:])
	l.records = slices.DeleteFunc(l.records, func(x proof.Record) bool { return x.Start < uint64(before) && !matters(&x) })
}

// matters reports whether a global transaction may know a record; of a commit
// without a gid nobody can tell.
func matters(x *proof.Record) bool {
	return len(x.Tags) > 0 || x.GID != "" || x.Kind == proof.CommitPrepared
}

// Stretch is the log from the first place at or behind an offset to the end of
// what was fed, with what was observed of its server.
func (l *Log) Stretch(from wal.LSN, seen []Observation) *shardlog.Result {
	return l.stretch(from, l.end(), seen)
}

// stretch puts together what was read.
func (l *Log) stretch(from wal.LSN, e end, all []Observation) *shardlog.Result {
	res := &shardlog.Result{Stretch: proof.Stretch{Shard: l.shard, Timeline: l.timeline, From: uint64(from), To: uint64(from)}}
	seen := l.observed(all)

	for _, o := range seen {
		res.Samples = append(res.Samples, o.Sample)
	}

	at, ok := l.begin(from, e.to)
	if !ok {
		res.Missing = append(res.Missing, shardlog.NoLog)
		return res
	}
	to := max(at.start, e.to)
	res.From, res.To = uint64(at.start), uint64(to)
	l.sort(res)

	// A place that lies behind the end says nothing of what lies before it.
	whole := l.known != 0 && l.known <= to
	switch {
	case !whole:
		res.Missing = append(res.Missing, shardlog.NotWhole)
	case l.known > at.start:
		res.Missing = append(res.Missing, shardlog.LateWhole)
	}

	if res.Reached = flushed(seen, at.before); res.Reached == nil {
		res.Missing = append(res.Missing, shardlog.NotReached)
		return res
	}

	if whole {
		res.KnownFrom, res.Known = flushed(seen, l.known), uint64(l.known)
	}
	res.Ended = ended(seen, max(to, e.next))

	return res
}

// sort tells the records of the stretch from those before it. Of the latter those
// that a global transaction may know matter; also where not all of them can be known,
// for what is there is true.
func (l *Log) sort(res *shardlog.Result) {
	for _, x := range l.records {
		switch {
		case x.Start >= res.From && x.End <= res.To:
			res.Records = append(res.Records, x)
		case x.Start < res.From && matters(&x):
			res.Earlier = append(res.Earlier, x)
		}
	}
}
