package activities

import (
	"fmt"
	"strings"
	"sync"

	"drctl/internal/engine"
	"drctl/internal/human"
	"drctl/targets"
)

// lag is what the sealing of a cut waits for.
type lag struct {
	cut    string
	shards []targets.ShardID // in the order of the cut

	mu      sync.Mutex
	waits   map[targets.ShardID]bool
	missing map[targets.ShardID]uint64 // bytes; of those that are known
	most    map[targets.ShardID]uint64
}

func newLag(cut targets.Cut) *lag {
	l := &lag{cut: cut.ID, waits: map[targets.ShardID]bool{}, missing: map[targets.ShardID]uint64{}, most: map[targets.ShardID]uint64{}}
	for _, p := range cut.Shards {
		l.shards = append(l.shards, p.Shard)
		l.waits[p.Shard] = true
	}

	return l
}

func (l *lag) note(s targets.ShardID, missing uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.missing[s], l.most[s] = missing, max(l.most[s], missing)
}

func (l *lag) done(s targets.ShardID) {
	l.mu.Lock()
	defer l.mu.Unlock()

	delete(l.waits, s)
	delete(l.missing, s)
}

// named is how many shards a beat names.
const named = 3

func (l *lag) beat() engine.Beat {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := engine.Beat{Phase: "seal", Detail: l.cut}

	var names []string
	for _, s := range l.shards {
		b.Total += int64(l.most[s])

		b.Done += int64(l.most[s] - l.missing[s])
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
		b.Detail += " waits for " + strings.Join(names, ", ")
	}

	return b
}
