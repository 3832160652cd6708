package judge

import (
	"testing"
	"time"

	"drctl/internal/lab/shop/journal"
)

// One that was half done before the cut says that it lists all need not be listed; one that
// was so later does.
func TestBrokenBeforeTheListIsComplete(t *testing.T) {
	sec := int64(time.Second)
	c := &Claim{Span: Span{Since: 100 * sec, Until: 100 * sec}, Limit: 3 * time.Second, Complete: 50 * sec}

	for sent, want := range map[int64]bool{10 * sec: true, 49 * sec: true, 50 * sec: false, 52 * sec: false, 99 * sec: false} {
		op := &journal.Record{Steps: []journal.Step{{SentNS: sent, AckNS: sent + 1}, {}}}
		if got := before(op, c); got != want {
			t.Errorf("sent at %d s: %v", sent/sec, got)
		}
	}

	c.Complete = 0
	if before(&journal.Record{Steps: []journal.Step{{SentNS: sec, AckNS: 2 * sec}, {}}}, c) {
		t.Error("a list that is always complete lacks nothing")
	}
}
