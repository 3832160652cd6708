package judge

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"drctl/internal/lab/shop/journal"
)

// Positions are a cut's places: recovery of a shard has what begins before its place,
// and a master what ends at or before its own. 0 is not known.
type Positions struct{ Postgres, Redis []uint64 }

// Place is where the records of a transaction begin; 0 where there is none.
type Place struct{ Prepared, Committed, Aborted uint64 }

// Places are the places of all transactions of a log, up to a cut's position at
// least, by their ids.
type Places map[uint32]Place

// ByPositions tells from a cut's positions what is in it. Places, one for each
// shard, make it exact; without them the bounds that clients learned at their commits leave
// those unknown that were being committed at the cut.
func ByPositions(at Positions, exact []Places) State {
	return func(op *journal.Record, n int) Presence {
		s := &op.Steps[n]

		switch {
		case s.Redis:
			return byOffset(s, pick(at.Redis, s.Shard))
		case pick(at.Postgres, s.Shard) == 0:
			return Unknown
		case exact != nil && s.XID != 0 && !settled(op, s):
			return byPlace(exact[s.Shard][s.XID], at.Postgres[s.Shard])
		}

		return byBounds(op, s, at.Postgres[s.Shard])
	}
}

func pick(all []uint64, i int) uint64 {
	if i < len(all) {
		return all[i]
	}

	return 0
}

// settled says that somebody else ended the step, maybe as another transaction.
func settled(op *journal.Record, s *journal.Step) bool {
	return s.GID == "" && s.AckNS == 0 && op.Acked() > 0
}

func byPlace(p Place, at uint64) Presence {
	before := func(x uint64) bool { return x != 0 && x < at }

	switch {
	case before(p.Committed):
		return In
	case before(p.Prepared) && !before(p.Aborted):
		return Prepared
	}

	return Out
}

func byBounds(op *journal.Record, s *journal.Step, at uint64) Presence {
	prepared, committed := place(s.Prepared, at), place(s.Committed, at)

	switch {
	case settled(op, s) && committed == In:
		return Unknown
	case s.GID == "" && s.Committed == nil && s.SentNS == 0, s.GID != "" && prepared == Out:
		return Out
	case s.GID == "" || committed == In:
		return committed
	case prepared == In && committed == Out:
		return Prepared
	}

	return Unknown
}

// place says where a record is in respect of a position.
func place(b *journal.Bounds, at uint64) Presence {
	switch {
	case b == nil:
		return Unknown
	case b.High != 0 && b.High <= at:
		return In
	case b.Low >= at:
		return Out
	}

	return Unknown
}

func byOffset(s *journal.Step, at uint64) Presence {
	if at == 0 {
		return Unknown
	}

	return place(s.Committed, at)
}

var waldump = regexp.MustCompile(`^rmgr: Transaction .* tx: +(\d+), lsn: ([0-9A-F]+)/([0-9A-F]+), .*desc: ([A-Z_]+)(?: (\d+):)?`)

// ReadWaldump reads places out of what pg_waldump prints: a reader of logs that is nobody's
// here.
func ReadWaldump(r io.Reader) (Places, error) {
	all := Places{}
	in := bufio.NewScanner(r)
	in.Buffer(nil, 16<<20)

	for in.Scan() {
		m := waldump.FindStringSubmatch(in.Text())
		if m == nil {
			continue
		}

		id := m[1]
		if m[5] != "" {
			id = m[5]
		}
		xid, err := strconv.ParseUint(id, 10, 32)
		high, herr := strconv.ParseUint(m[2], 16, 32)
		low, lerr := strconv.ParseUint(m[3], 16, 32)

		if err != nil || herr != nil || lerr != nil {
			return nil, fmt.Errorf("not a line of pg_waldump: %q", in.Text())
		}
		p, at := all[uint32(xid)], high<<32|low

		switch m[4] {
		case "COMMIT", "COMMIT_PREPARED":
			p.Committed = at
		case "ABORT", "ABORT_PREPARED", "ROLLBACK_PREPARED":
			p.Aborted = at
		case "PREPARE":
			p.Prepared = at
		}
		all[uint32(xid)] = p
	}

	return all, in.Err()
}
