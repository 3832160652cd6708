package timeline

import (
	"encoding/json"
	"fmt"
	"time"

	"drctl/targets"
)

// Record is the stored record of a timeline: where it begins, and where it left
// another. It is written once, before the timeline's first chunk.
type Record struct {
	Timeline string           `json:"lineage"`
	Kind     targets.Kind     `json:"kind,omitempty"`
	Offset   uint64           `json:"offset"`
	Parent   targets.Position `json:"parent,omitzero"`
	History  []byte           `json:"history,omitempty"`
	Began    time.Time        `json:"began"`
}

// MaxRecord bounds what is read of a record, in bytes: a history file is a few lines.
const MaxRecord = 16 << 20

// DecodeRecord reads the record of a timeline, and refuses that of another one
// and one that no archiver writes.
func DecodeRecord(b []byte, timeline string) (Record, error) {
	var r Record

	err := json.Unmarshal(b, &r)
	if err == nil {
		err = r.check(timeline)
	}

	if err != nil {
		return Record{}, fmt.Errorf("not the origin of %s (%w)", timeline, err)
	}

	return r, nil
}

// Encode is the inverse of DecodeRecord.
func (r Record) Encode() ([]byte, error) { return encode(r) }

// Says is the timeline as its record alone tells of it, without chunks and holes.
func (r Record) Says() Timeline {
	return Timeline{ID: r.Timeline, Origin: true, Kind: r.Kind, Offset: r.Offset, Parent: r.Parent, Began: r.Began, History: r.History}
}

// check reports what is wrong with what a record says.
func (r Record) check(timeline string) error {
	const most = 1 << 62 // differences of offsets stay inside an int64
	switch {
	case r.Timeline != timeline:
		return fmt.Errorf("it is of timeline %.80q", r.Timeline)
	case r.Parent.Timeline != "" && !isName(r.Parent.Timeline):
		return fmt.Errorf("its parent is %.80q", r.Parent.Timeline)
	case r.Offset > most || r.Parent.Offset > most:
		return fmt.Errorf("it begins at %d, its parent ends at %d", r.Offset, r.Parent.Offset)
	case r.Kind != "":
		return r.Kind.Check()
	}

	return nil
}

// isName reports whether a vault can have a folder of that name.
func isName(s string) bool { return len(s) <= 200 && targets.IsName(s) }

// Hole is the stored record of bytes [From, To) of a timeline that were given up:
// the server had lost them before they were archived. Its name says the same, so
// that nobody has to read it.
type Hole struct {
	Timeline string    `json:"lineage"`
	From     uint64    `json:"from"`
	To       uint64    `json:"to"`
	Declared time.Time `json:"declared"`
}

// Encode is the content of the record.
func (h Hole) Encode() ([]byte, error) { return encode(h) }

// encode writes a record as lines that a person can read.
func encode(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", " ")
	return append(b, '\n'), err
}
