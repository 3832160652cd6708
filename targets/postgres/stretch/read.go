package stretch

import (
	"errors"
	"io"
	"slices"

	"drctl/internal/fail"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/targets/postgres/wal"
)

const opRead = "read stretch"

// Read reads a stretch of log. A source that cannot be is invalid; what the log
// and its source fail with is handed on, and there is no stretch then.
func Read(src Source) (*Result, error) {
	if err := src.check(); err != nil {
		return nil, err
	}

	src.Options.All = true // where a record begins matters, whatever it is

	log, err := wal.NewReader(src.Log, src.Options)
	if err != nil {
		return nil, err
	}

	r := &reading{src: &src, log: log}
	if err := r.all(); err != nil {
		return nil, err
	}

	return r.stretch(), nil
}

func (s *Source) check() error {
	bad := func(format string, args ...any) error {
		return fail.Newf(fail.Invalid, opRead, s.Shard.String(), format, args...)
	}

	if s.To < s.From {
		return bad("from %v to %v is no stretch", s.From, s.To)
	}

	if len(s.Options.Timelines) == 0 {
		return bad("name the timeline of the log")
	}

	if len(s.Options.Timelines) > 1 && s.From < s.timeline().Begin {
		return bad("the stretch begins at %v, before its timeline does at %v", s.From, s.timeline().Begin)
	}

	return nil
}

// timeline is that of the stretch.
func (s *Source) timeline() wal.Timeline { return s.Options.Timelines[len(s.Options.Timelines)-1] }

// reading is a log that is being read.
type reading struct {
	src     *Source
	log     *wal.Reader
	xacts   wal.Transactions
	records []proof.Record // all that were decided or prepared before To
	last    wal.LSN        // where the last of the log that was read ends; 0 before the first
	// first is where the first record at or behind From begins, and before where the one
	// before it ends; known is from where on all transactions are known. 0 while there is none.
	first, before, known wal.LSN
	to                   wal.LSN // where the stretch ends
	next                 wal.LSN // where the first record behind it begins, or would begin
	early                bool    // it ends before the To that was wanted
}

// all reads up to To, or to where the log ends before that.
func (r *reading) all() error {
	for {
		rec, err := r.log.Next()
		if errors.Is(err, io.EOF) {
			r.end()
			return nil
		}

		if err != nil {
			return err
		}

		if rec.End > r.src.To { // one that lies across it is not in the stretch
			r.to, r.next = min(r.src.To, rec.Start), rec.Start
			r.begin(r.to)

			return nil
		}

		if err := r.add(rec); err != nil {
			return err
		}
	}
}

// end makes the stretch end where the log does. Where that is, is known once a
// record was read.
func (r *reading) end() {
	r.to = r.src.From
	if r.log.End() != 0 {
		r.next = r.log.NextStart()
		r.to = min(r.src.To, r.next)
		r.begin(r.to)
	}
	r.early = r.to < r.src.To
}

// begin notes the first record at or behind From. Between it and the one before
// there are headers of pages at most, or the rest of a segment.
func (r *reading) begin(at wal.LSN) {
	if r.first != 0 || at < r.src.From {
		return
	}

	r.first, r.before = at, at
	if r.last != 0 {
		r.before = r.last
	}
}

func (r *reading) add(rec wal.Record) error {
	r.begin(rec.Start)
	r.last = rec.End

	step, err := r.xacts.Add(rec)
	if err != nil {
		return err
	}

	if at, ok := r.xacts.KnowsFrom(); ok && r.known == 0 {
		r.known = at
	}

	if x := step.Transaction; x != nil {
		if kind, ok := kinds[x.Outcome]; ok {
			r.records = append(r.records, record(x, kind))
		}
	}

	return nil
}

// kinds are those of the outcomes that say something. Aborts say nothing.
var kinds = map[wal.Outcome]proof.Kind{
	wal.Committed:         proof.Commit,
	wal.Prepared:          proof.Prepare,
	wal.CommittedPrepared: proof.CommitPrepared,
	wal.AbortedPrepared:   proof.AbortPrepared,
}

func record(x *wal.Transaction, kind proof.Kind) proof.Record {
	r := proof.Record{Start: uint64(x.Start), End: uint64(x.End), Stamp: clock.Stamp(x.Stamp.UnixNano()), Kind: kind, GID: x.GID}

	for _, m := range x.Tags {
		if m.Prefix != TagPrefix || !m.Transactional {
			continue
		}

		text := m.Content
		if m.Size > uint64(len(text)) {
			text += "…" // its number was cut off, and what is left must not be read as one
		}
		r.Tags = append(r.Tags, text)
	}

	return r
}

// stretch puts together what was read.
func (r *reading) stretch() *Result {
	res := &Result{Stretch: proof.Stretch{Shard: r.src.Shard, Timeline: r.src.Timeline}}
	seen := r.observed()

	for _, o := range seen {
		res.Samples = append(res.Samples, o.Sample)
	}

	from := r.from(res)
	if r.early {
		res.Missing = append(res.Missing, EndsEarly)
	}

	to := max(from, r.to)
	res.From, res.To = uint64(from), uint64(to)
	r.sort(res)

	if !slices.Contains(res.Missing, NoLog) && !slices.Contains(res.Missing, NotWhole) {
		if res.Reached = flushed(seen, max(r.before, r.known)); res.Reached == nil {
			res.Missing = append(res.Missing, NotReached)
		} else {
			res.KnownFrom = flushed(seen, r.known)
			res.Ended = ended(seen, max(to, r.next))
		}
	}

	return res
}

// from is where the stretch begins: where the first record wanted does, but not
// before all transactions are known.
func (r *reading) from(res *Result) wal.LSN {
	switch {
	case r.first == 0:
		res.Missing = append(res.Missing, NoLog)
		return r.src.From
	case r.known == 0:
		res.Missing = append(res.Missing, NotWhole)
		return r.first
	case r.known > r.first:
		res.Missing = append(res.Missing, LateWhole)
		return r.known
	}

	return r.first
}

// sort tells the records of the stretch from those before it. Of the latter those with a tag
// or a gid matter, and commits of which the gid is not known; also where
// not all of them can be known, for what is there is true.
func (r *reading) sort(res *Result) {
	for _, x := range r.records {
		switch {
		case x.Start >= res.From:
			res.Records = append(res.Records, x)
		case len(x.Tags) > 0 || x.GID != "" || x.Kind == proof.CommitPrepared:
			res.Earlier = append(res.Earlier, x)
		}
	}
}
