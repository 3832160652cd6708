package targets

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// idTime is how ids begin: in UTC, to the millisecond.
const idTime = "20060102T150405.000Z"

// NewID names a cut or a base: by the time, so that ids sort by it, and at random:
// "20261123T192531.123Z-9f3a51c0". Older ids have four random digits.
func NewID(now time.Time) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails

	return IDTime(now) + "-" + hex.EncodeToString(b[:])
}

// IDTime is how the ids begin that are made at a time, to the millisecond. As text
// it sorts before all of them, and after all older ones.
func IDTime(t time.Time) string { return t.UTC().Format(idTime) }

// MadeBefore reports whether an id was made in an earlier millisecond than t.
func MadeBefore(id string, t time.Time) bool { return id < IDTime(t) }

// ParseIDTime is when an id was made, by the clock of who made it.
func ParseIDTime(id string) (made time.Time, ok bool) {
	made, err := time.Parse(idTime, id[:min(len(id), len(idTime))])

	return made, err == nil
}
