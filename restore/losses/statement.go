package losses

import (
	"fmt"
	"time"

	"drctl/internal/human"
	"drctl/targets"
	"drctl/targets/handover"
)

// Verdict is what is known of a loss.
type Verdict string

// The verdicts.
const (
	// Lost: there was something of the old primary that the new one has not.
	Lost Verdict = "lost"
	// Unknown: nobody saw anything that the new one has not; what nobody saw may be lost.
	Unknown Verdict = "unknown"
	// Nothing: the old primary's own log was read to its end, and the new one has
	// every transaction of it.
	Nothing Verdict = "nothing"
)

// Statement is what a failover lost.
type Statement struct {
	Run   string    `json:"run"`
	Group string    `json:"group"`
	From  string    `json:"from"` // the region that was left
	To    string    `json:"to"`
	Epoch uint64    `json:"epoch"`
	Made  time.Time `json:"made"`
	// Silent is when the old side was silent at the latest, by the clock of who ran the
	// section.
	Silent time.Time `json:"silent,omitzero"`
	Shards []Shard   `json:"shards"`
	// Notes say what could not be found out, or not be kept.
	Notes []string `json:"notes,omitempty"`
}

// Shard is what was lost of one shard.
type Shard struct {
	Shard   targets.ShardID `json:"shard"`
	Kind    targets.Kind    `json:"kind"`
	Verdict Verdict         `json:"verdict"`
	// Fork is where the new side left the old one's log.
	Fork targets.Position `json:"fork"`
	// Known is the farthest place that anybody saw of the old primary, By whom, and
	// when (Seen); zero when nobody did.
	Known targets.Position `json:"known,omitzero"`
	By    string           `json:"known_by,omitempty"`
	Seen  time.Time        `json:"seen,omitzero"`
	// Bytes are those from Fork to Known: at least so much log is lost.
	Bytes uint64 `json:"bytes"`
	// Since is the newest instant of which it is known that all of the old primary's log
	// until then is held; zero when no such instant is known. What is lost was
	// written between it and Statement.Silent.
	Since time.Time `json:"since,omitzero"`
	// Read is what the old disks showed; nil until they were read.
	Read *handover.Loss `json:"read,omitempty"`
}

// judge sets the verdict.
func (s *Shard) judge() {
	switch {
	case s.Read != nil && s.Read.Read && s.Kind == targets.Postgres && s.Read.Count == 0:
		s.Verdict = Nothing
	case s.Read != nil && s.Read.Read && s.Read.Bytes == 0:
		s.Verdict = Nothing
	case s.Read != nil && (s.Read.Read || s.Read.Count > 0 || s.Read.Bytes > 0), s.Bytes > 0:
		s.Verdict = Lost
	default:
		s.Verdict = Unknown
	}
}

// Span is the longest time of which something can be lost; ok is false when that is
// not known.
func (st Statement) Span(s Shard) (d time.Duration, ok bool) {
	if s.Since.IsZero() || st.Silent.IsZero() {
		return 0, false
	}

	return max(0, st.Silent.Sub(s.Since)), true
}

// LostFrom is the instant from which on something of any shard can be lost; zero where nothing is lost.
// why says why that is not known.
func (st Statement) LostFrom() (since time.Time, why string) {
	for _, s := range st.Shards {
		switch {
		case s.Verdict == Nothing:
		case s.Since.IsZero():
			return time.Time{}, "of " + s.Shard.String() + " it is not known since when something is lost"
		case since.IsZero() || s.Since.Before(since):
			since = s.Since
		}
	}

	return since, ""
}

// Words say it of one shard, for people.
func (st Statement) Words(s Shard) string {
	if s.Read != nil && s.Read.Read {
		return read(s)
	}

	if s.Read != nil && s.Verdict == Lost {
		return fmt.Sprintf("at least %s and %s of log lost: the old log could not be read to its end", human.Plural(s.Read.Count, "transaction"), human.Bytes(int64(max(s.Bytes, s.Read.Bytes))))
	}

	span := "since when is not known"
	if d, ok := st.Span(s); ok {
		span = fmt.Sprintf("what was written in the %s from %s on", human.Duration(d), stamp(s.Since))
	}

	seen := "nobody saw how far the old primary was"
	if s.Known.Timeline != "" {
		seen = fmt.Sprintf("the old primary was seen at %s (%s, %s)", s.Known, s.By, stamp(s.Seen))
	}

	if s.Verdict == Lost {
		return fmt.Sprintf("at least %s of log lost: the new primary took over at %s, %s; at most %s", human.Bytes(int64(s.Bytes)), s.Fork, seen, span)
	}

	return fmt.Sprintf("not known what is lost: the new primary took over at %s, %s; what it wrote after that nobody knows: at most %s", s.Fork, seen, span)
}

func read(s Shard) string {
	r := s.Read

	switch {
	case s.Verdict == Nothing:
		return "nothing lost: the old log was read to its end, and the new primary has every transaction of it"
	case s.Kind == targets.Postgres:
		return fmt.Sprintf("%s lost, %s of log, from %s to %s by the old server's clock", human.Plural(r.Count, "transaction"), human.Bytes(int64(r.Bytes)), stamp(r.First), stamp(r.Last))
	}

	return fmt.Sprintf("%s of log lost: the old primary has it, the new one has not", human.Bytes(int64(r.Bytes)))
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}

	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
