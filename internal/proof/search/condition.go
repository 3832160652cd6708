package search

// condition is one of the numbered conditions of the theorem in internal/proof.
type condition int

const (
	beforeT      condition = 1  // commits in the cut were stamped before T ...
	allBefore    condition = 2  // ... all of them, not only the last
	stampedAfter condition = 3  // the next commit was stamped after T
	endSeen      condition = 4  // or the log was seen to end there after T
	beginning    condition = 5  // what lies before the stretch is older than T
	tagsWhole    condition = 6  // no tagged global transaction is half done
	longKnown    condition = 7  // tags are known since more than the limit before T
	allReady     condition = 8  // where one part is committed, all are prepared
	decided      condition = 9  // what recovery does with those in doubt is sure
	markerIn     condition = 10 // the gap covers the marker
	onePause     condition = 11 // several masters stood still at one instant
	inHold       condition = 12 // T is inside of the hold that the grade wants
)

// conditions is the set of those that a search leaves out. Only tests leave out
// any: they show that a simulator finds a false cut then.
type conditions map[condition]bool

func (c conditions) skip(one condition) bool { return c[one] }
