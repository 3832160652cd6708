package judge

import (
	"testing"
	"time"

	"drctl/internal/lab/shop/journal"
)

// One that was broken before the logs were known need not be listed; one that was
// broken later does.
func TestBrokenBeforeItWasKnown(t *testing.T) {
	sec := int64(time.Second)
	c := &Claim{Span: Span{Since: 100 * sec, Until: 100 * sec}, Limit: 3 * time.Second, Known: 50 * sec}

	for sent, want := range map[int64]bool{10 * sec: true, 52 * sec: true, 54 * sec: false, 99 * sec: false} {
		op := &journal.Record{Steps: []journal.Step{{SentNS: sent, AckNS: sent + 1}, {}}}
		if got := before(op, c); got != want {
			t.Errorf("sent at %d s: %v", sent/sec, got)
		}
	}

	c.Known = 0
	if before(&journal.Record{Steps: []journal.Step{{SentNS: sec, AckNS: 2 * sec}, {}}}, c) {
		t.Error("where all is known nothing is older")
	}
}
