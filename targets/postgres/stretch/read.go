package stretch

import (
	"drctl/internal/fail"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/shardlog"
	"drctl/targets/postgres/wal"
)

const opRead = "read stretch"

// Read reads a stretch of log. A source that cannot be is invalid; what the log
// and its source fail with is handed on, and there is no stretch then.
func Read(src Source) (*shardlog.Result, error) {
	if err := src.check(); err != nil {
		return nil, err
	}

	l, err := Open(src.Shard, src.Timeline, src.Options)
	if err != nil {
		return nil, err
	}
	l.exact = src.From

	e, err := l.read(src.Log, src.To)
	if err != nil {
		return nil, err
	}

	res := l.stretch(src.From, e, src.Observations)
	if e.to < src.To && e == l.end() { // and not in front of a record that lies across its end
		res.Missing = append(res.Missing, shardlog.EndsEarly)
	}

	return res, nil
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

	if last := s.Options.Timelines[len(s.Options.Timelines)-1]; len(s.Options.Timelines) > 1 && s.From < last.Begin {
		return bad("the stretch begins at %v, before its timeline does at %v", s.From, last.Begin)
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
