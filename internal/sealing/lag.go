package sealing

import (
	"fmt"
	"strings"
	"sync"

	"drctl/internal/human"
	"drctl/targets"
)

// Lag is what the sealing of a cut waits for. It is safe for concurrent use.
type Lag struct {
	cut    string
	shards []targets.ShardID // in the order of the cut

	mu      sync.Mutex
	waits   map[targets.ShardID]bool
	missing map[targets.ShardID]uint64 // bytes; of those that are known
	most    map[targets.ShardID]uint64
}

// NewLag waits for every shard of the cut.
func NewLag(cut targets.Cut) *Lag {
	l := &Lag{cut: cut.ID, waits: map[targets.ShardID]bool{}, missing: map[targets.ShardID]uint64{}, most: map[targets.ShardID]uint64{}}
	for _, p := range cut.Shards {
		l.shards = append(l.shards, p.Shard)
		l.waits[p.Shard] = true
	}

	return l
}

func (l *Lag) note(s targets.ShardID, missing uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.missing[s], l.most[s] = missing, max(l.most[s], missing)
}

func (l *Lag) done(s targets.ShardID) {
	l.mu.Lock()
	defer l.mu.Unlock()

	delete(l.waits, s)
	delete(l.missing, s)
}

// named is how many shards Now names.
const named = 3

// Now says how many of the bytes that were missing are stored, and for which
// shards of which cut is waited, the first few by name.
func (l *Lag) Now() (done, total int64, detail string) {
	l.mu.Lock()
	defer l.mu.Unlock()

	detail = l.cut

	var names []string
	for _, s := range l.shards {
		total += int64(l.most[s])

		done += int64(l.most[s] - l.missing[s])
		if !l.waits[s] {
			continue
		}

		name := s.String()
		if n, ok := l.missing[s]; ok {
			name += " (" + human.Bytes(int64(n)) + " missing)"
		}
		names = append(names, name)
	}

	if n := len(names) - named; n > 0 {
		names = append(names[:named], fmt.Sprintf("%d more", n))
	}

	if len(names) > 0 {
		detail += " waits for " + strings.Join(names, ", ")
	}

	return done, total, detail
}
