package stream

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

// mark says that all bytes below Offset had been received at At.
type mark struct {
	at     time.Time
	offset uint64
}

// markEvery is how close two time marks are at least.
const markEvery = 100 * time.Millisecond

// maxMarks bounds the header of a chunk that stays open for long (a full
// window): beyond it marks are thinned out.
const maxMarks = 600

type header struct {
	shard          targets.ShardID
	timeline       string
	from, to       uint64
	opened, closed time.Time
	marks          []mark
}

func (h header) meta() map[string]string {
	m := map[string]string{
		metaTarget: h.shard.Target, metaShard: h.shard.Shard, metaTimeline: h.timeline,
		metaFrom: strconv.FormatUint(h.from, 10), metaTo: strconv.FormatUint(h.to, 10),
		metaOpened: strconv.FormatInt(h.opened.UnixMilli(), 10), metaClosed: strconv.FormatInt(h.closed.UnixMilli(), 10),
	}

	var b strings.Builder
	for i, k := range h.marks {
		if i > 0 {
			b.WriteByte(',')
		}

		b.WriteString(strconv.FormatInt(k.at.UnixMilli()-h.opened.UnixMilli(), 10))
		b.WriteByte(':')
		b.WriteString(strconv.FormatUint(k.offset-h.from, 10))
	}
	m[metaMarks] = b.String()

	return m
}

// parseHeader reads a chunk's header; key names it in the error.
func parseHeader(key string, m map[string]string) (header, error) {
	bad := func(what string) (header, error) {
		return header{}, fail.Newf(fail.Corrupt, "stream: chunk header", key, "bad %s %q", what, m[what])
	}
	h := header{shard: targets.ShardID{Target: m[metaTarget], Shard: m[metaShard]}, timeline: m[metaTimeline]}

	var err error
	if h.from, err = strconv.ParseUint(m[metaFrom], 10, 64); err != nil {
		return bad(metaFrom)
	}

	if h.to, err = strconv.ParseUint(m[metaTo], 10, 64); err != nil || h.to <= h.from {
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

	h.opened, h.closed = time.UnixMilli(opened).UTC(), time.UnixMilli(closed).UTC()
	if m[metaMarks] == "" {
		return h, nil
	}

	for s := range strings.SplitSeq(m[metaMarks], ",") {
		a, b, ok := strings.Cut(s, ":")
		ms, errA := strconv.ParseInt(a, 10, 64)

		off, errB := strconv.ParseUint(b, 10, 64)
		if !ok || errA != nil || errB != nil || off > h.to-h.from {
			return bad(metaMarks)
		}
		h.marks = append(h.marks, mark{at: time.UnixMilli(opened + ms).UTC(), offset: h.from + off})
	}

	return h, nil
}

// check compares a header with what the chunk's name and place say.
func (h header) check(c timeline.Chunk, shard targets.ShardID, timeline string) error {
	if h.shard != shard || h.timeline != timeline || h.from != c.From || h.to != c.To {
		return fail.Newf(fail.Corrupt, "stream: chunk", c.Key,
			"the header says %s timeline %s bytes [%d,%d): this is another chunk's content", h.shard, h.timeline, h.from, h.to)
	}

	return nil
}
