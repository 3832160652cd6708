package chunk

import (
	"strconv"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/targets"
)

// The names in a chunk's encrypted header. All values are text.
const (
	metaTarget   = "target"
	metaShard    = "shard"
	metaTimeline = "lineage"
	metaFrom     = "from"   // decimal offset of the first byte
	metaTo       = "to"     // decimal offset after the last byte
	metaOpened   = "opened" // unix ms when the first byte came
	metaClosed   = "closed" // unix ms when the chunk was closed
	metaMarks    = "marks"  // "<ms after opened>:<bytes received by then>,...", ascending
)

// Mark says that all bytes below Offset had been received at At.
type Mark struct {
	At     time.Time
	Offset uint64
}

// Header is what a chunk says of itself: bytes [From, To) of a timeline.
type Header struct {
	Shard    targets.ShardID
	Timeline string
	From, To uint64
	// Opened is when the first byte came, Closed when the chunk was cut off.
	Opened, Closed time.Time
	Marks          []Mark // ascending
}

// Meta is the header as it is stored.
func (h Header) Meta() map[string]string {
	m := map[string]string{
		metaTarget: h.Shard.Target, metaShard: h.Shard.Shard, metaTimeline: h.Timeline,
		metaFrom: strconv.FormatUint(h.From, 10), metaTo: strconv.FormatUint(h.To, 10),
		metaOpened: strconv.FormatInt(h.Opened.UnixMilli(), 10), metaClosed: strconv.FormatInt(h.Closed.UnixMilli(), 10),
	}

	var b strings.Builder
	for i, k := range h.Marks {
		if i > 0 {
			b.WriteByte(',')
		}

		b.WriteString(strconv.FormatInt(k.At.UnixMilli()-h.Opened.UnixMilli(), 10))
		b.WriteByte(':')
		b.WriteString(strconv.FormatUint(k.Offset-h.From, 10))
	}
	m[metaMarks] = b.String()

	return m
}

// Parse reads a chunk's header; key names it in the error.
func Parse(key string, m map[string]string) (Header, error) {
	bad := func(what string) (Header, error) {
		return Header{}, fail.Newf(fail.Corrupt, "stream: chunk header", key, "bad %s %q", what, m[what])
	}
	h := Header{Shard: targets.ShardID{Target: m[metaTarget], Shard: m[metaShard]}, Timeline: m[metaTimeline]}

	var err error
	if h.From, err = strconv.ParseUint(m[metaFrom], 10, 64); err != nil {
		return bad(metaFrom)
	}

	if h.To, err = strconv.ParseUint(m[metaTo], 10, 64); err != nil || h.To <= h.From {
		return bad(metaTo)
	}

	opened, err := strconv.ParseInt(m[metaOpened], 10, 64)
	if err != nil {
		return bad(metaOpened)
	}

	closed, err := strconv.ParseInt(m[metaClosed], 10, 64)
	if err != nil {
		return bad(metaClosed)
	}

	h.Opened, h.Closed = time.UnixMilli(opened).UTC(), time.UnixMilli(closed).UTC()
	if m[metaMarks] == "" {
		return h, nil
	}

	for s := range strings.SplitSeq(m[metaMarks], ",") {
		a, b, ok := strings.Cut(s, ":")
		ms, errA := strconv.ParseInt(a, 10, 64)

		off, errB := strconv.ParseUint(b, 10, 64)
		if !ok || errA != nil || errB != nil || off > h.To-h.From {
			return bad(metaMarks)
		}
		h.Marks = append(h.Marks, Mark{At: time.UnixMilli(opened + ms).UTC(), Offset: h.From + off})
	}

	return h, nil
}

// Check compares a header with what the chunk's name and place say.
func (h Header) Check(c timeline.Chunk, shard targets.ShardID, timeline string) error {
	if h.Shard != shard || h.Timeline != timeline || h.From != c.From || h.To != c.To {
		return fail.Newf(fail.Corrupt, "stream: chunk", c.Key,
			"the header says %s timeline %s bytes [%d,%d): this is another chunk's content", h.Shard, h.Timeline, h.From, h.To)
	}

	return nil
}
