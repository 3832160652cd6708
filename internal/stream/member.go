package stream

import (
	"slices"
	"time"

	"drctl/internal/timeline"
	"drctl/internal/vault"
)

// item is one object on its way into the vaults. An origin has no range.
type item struct {
	key      string
	epoch    int
	from, to uint64
	// first is set for the chunk with which a vault begins to hold a timeline: it
	// is there before any later one, which would pass for the beginning.
	first bool
}

// member is one vault of the set as the archiver sees it. Its fields are
// guarded by the archiver's mu.
type member struct {
	v  *vault.Vault
	st vault.Store

	// live vaults get every chunk at once. One that is not live lacks
	// something and gets it from the others, oldest first; it becomes live
	// again when nothing is missing. So what a vault holds has no hole but at
	// its end.
	live       bool
	scan       bool // what it lacks is unknown until it has been listed
	catching   bool // a goroutine brings it up
	missing    []item
	older      int       // how many of missing are of earlier epochs
	base       uint64    // durable end when older > 0, from the listing at the start
	held       contig    // of the current epoch
	failing    time.Time // since when every call failed; zero when the last one did not
	lastErr    error
	lastLogged time.Time
}

// end is the offset up to which the vault holds the current timeline with
// everything before it.
func (m *member) end() uint64 {
	if m.older > 0 || m.scan {
		return m.base
	}

	return m.held.end
}

// jump starts a new epoch at an offset.
func (m *member) jump(at uint64) {
	m.older = len(m.missing)
	m.base = 0
	m.held = contig{end: at}
}

// lack notes what the vault must get from the others.
func (m *member) lack(it item, epoch int) {
	m.missing = append(m.missing, it)
	if it.epoch < epoch {
		m.older++
	}
}

// got notes that something missing has been copied.
func (m *member) got(its []item, epoch int) {
	m.remove(its, epoch, func(it item) { m.held.add(it.from, it.to) })
}

// waive notes that the vault can do without something missing: it holds no more
// than before.
func (m *member) waive(its []item, epoch int) {
	m.remove(its, epoch, func(item) {})
}

// remove takes items off the missing; of is told those of this epoch.
func (m *member) remove(its []item, epoch int, of func(item)) {
	done := make(map[string]bool, len(its))
	for _, it := range its {
		done[it.key] = true
	}
	m.missing = slices.DeleteFunc(m.missing, func(it item) bool {
		if !done[it.key] {
			return false
		}

		if it.epoch < epoch {
			m.older--
		} else {
			of(it)
		}

		return true
	})
}

// contig tracks how far ranges reach without a gap.
type contig struct {
	end   uint64
	ahead []timeline.Gap // beyond end, unordered
}

func (c *contig) add(from, to uint64) {
	if to <= from || to <= c.end {
		return
	}

	c.ahead = append(c.ahead, timeline.Gap{From: from, To: to})
	for moved := true; moved; {
		moved = false
		c.ahead = slices.DeleteFunc(c.ahead, func(g timeline.Gap) bool {
			if g.From > c.end {
				return false
			}

			if g.To > c.end {
				c.end = g.To
				moved = true
			}

			return true
		})
	}
}
