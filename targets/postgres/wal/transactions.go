package wal

import (
	"cmp"
	"fmt"
	"slices"

	"drctl/internal/fail"
)

// Outcome is what became of a transaction.
type Outcome uint8

// The outcomes. A prepared transaction has two: Prepared, and later one of
// the last two.
const (
	Committed Outcome = iota + 1
	Aborted           // the transaction or one of its subtransactions
	Prepared
	CommittedPrepared
	AbortedPrepared
)

// String names the outcome.
func (o Outcome) String() string {
	switch o {
	case Committed:
		return "committed"
	case Aborted:
		return "aborted"
	case Prepared:
		return "prepared"
	case CommittedPrepared:
		return "committed prepared"
	case AbortedPrepared:
		return "rolled back prepared"
	}

	return fmt.Sprintf("outcome %d", uint8(o))
}

// Transaction is a local transaction that a record decided or prepared.
type Transaction struct {
	Start, End LSN // of that record
	Outcome    Outcome
	Decision
	// Tags are drctl's transactional messages of it and of its subtransactions that
	// share its fate, in log order; those before PREPARE for a prepared one.
	Tags []Message
	// Whole says that all of the transaction was seen: Tags and GID are complete.
	Whole bool
}

// Step is what a record means to a proof: a transaction that ended, a message
// that counts whatever becomes of its transaction, or neither.
type Step struct {
	Transaction *Transaction
	Message     *Message
}

// maxOpen bounds the memory for open and prepared transactions, in bytes.
const maxOpen = 64 << 20

// Transactions puts the records of one log together. The zero value begins
// knowing nothing. It is not safe for concurrent use.
type Transactions struct {
	open     map[uint32][]Message // by the transaction or subtransaction that wrote them
	prepared map[uint32]prepared
	size     int // bytes that they hold

	// Transactions from this one on began behind the place where reading began.
	first  uint32
	seen   bool
	knows  LSN // from here on all did
	knowsn bool
}

type prepared struct {
	gid   string
	tags  []Message
	whole bool
}

// KnowsFrom is the place from which on every transaction that ends was seen
// from its beginning, the prepared ones included; false while there is none yet.
// Before it, and where a prepared transaction of long ago keeps it from coming,
// Transaction.Whole tells for each.
//
// It comes from the list of open transactions that a server at wal_level
// replica or logical writes at each checkpoint and every 15 seconds in which
// anything was logged: begin that much, and the longest transaction, before the
// place of interest.
func (t *Transactions) KnowsFrom() (LSN, bool) { return t.knows, t.knowsn }

// Add takes the next record. Records must come in log order, without a gap.
// One that cannot be decoded is corrupt; more tags of open transactions than
// memory is meant for are exhausted.
func (t *Transactions) Add(r Record) (Step, error) {
	switch r.Kind {
	case LogicalMessage:
		return t.message(r)
	case Commit, Abort, Prepare, CommitPrepared, AbortPrepared:
		d, err := r.Decision()
		if err != nil {
			return Step{}, err
		}
		x := &Transaction{Start: r.Start, End: r.End, Decision: d}

		return Step{Transaction: x}, t.decide(r.Kind, x)
	case Running, Shutdown, EndOfRecovery:
		s, err := r.Snapshot()
		if err != nil {
			return Step{}, err
		}

		t.snapshot(r, s)
	}

	return Step{}, nil
}

func (t *Transactions) message(r Record) (Step, error) {
	m, err := r.Message()
	if err != nil || !m.Ours() {
		return Step{}, err
	}

	if !m.Transactional {
		return Step{Message: &m}, nil
	}

	if err := t.grow(r.Start, weight(m)); err != nil {
		return Step{}, err
	}

	if t.open == nil {
		t.open = map[uint32][]Message{}
	}
	t.open[m.XID] = append(t.open[m.XID], m)

	return Step{}, nil
}

func (t *Transactions) decide(kind Kind, x *Transaction) error {
	x.Whole = t.knowsn || t.seen && !precedes(x.XID, t.first)

	switch kind {
	case Commit:
		x.Outcome, x.Tags = Committed, t.take(x)
	case Abort:
		x.Outcome, x.Tags = Aborted, t.take(x)
	case Prepare:
		x.Outcome, x.Tags = Prepared, t.take(x)
		return t.keep(x)
	case CommitPrepared:
		x.Outcome = CommittedPrepared
		return t.resolve(x)
	case AbortPrepared:
		x.Outcome = AbortedPrepared
		return t.resolve(x)
	}

	return nil
}

// take removes the tags of a transaction and of the subtransactions that share
// its fate. Those of subtransactions that were rolled back went with them.
func (t *Transactions) take(x *Transaction) []Message {
	if len(t.open) == 0 {
		return nil
	}

	tags := t.open[x.XID]
	delete(t.open, x.XID)

	for _, sub := range x.Subtransactions {
		if more := t.open[sub]; more != nil {
			tags = append(tags, more...)

			delete(t.open, sub)
		}
	}

	t.size -= weight(tags...)
	slices.SortFunc(tags, func(a, b Message) int { return cmp.Compare(a.Start, b.Start) })

	return tags
}

func (t *Transactions) keep(x *Transaction) error {
	if _, twice := t.prepared[x.XID]; twice {
		return corrupt(x.Start, "transaction %d was prepared before", x.XID)
	}
	p := prepared{gid: x.GID, tags: x.Tags, whole: x.Whole}

	if t.prepared == nil {
		t.prepared = map[uint32]prepared{}
	}
	t.prepared[x.XID] = p

	return t.grow(x.Start, p.weight())
}

// resolve completes the end of a prepared transaction with what was known when
// it was prepared.
func (t *Transactions) resolve(x *Transaction) error {
	p, ok := t.prepared[x.XID]
	if !ok {
		x.Whole = false
		return nil
	}

	delete(t.prepared, x.XID)
	t.size -= p.weight()

	if x.GID != "" && x.GID != p.gid {
		return corrupt(x.Start, "transaction %d was prepared as %q and ended as %q", x.XID, p.gid, x.GID)
	}
	x.GID, x.Tags, x.Whole = p.gid, p.tags, p.whole

	return nil
}

// snapshot learns from the state of the server. The list of open transactions
// and a shutdown both stand in the log where no transaction identifier was given
// out meanwhile (LogStandbySnapshot in standby.c holds XidGenLock over it).
func (t *Transactions) snapshot(r Record, s Snapshot) {
	if r.Kind != Running {
		// What was open is rolled back without a record; what is prepared stays.
		for _, tags := range t.open {
			t.size -= weight(tags...)
		}
		t.open = nil
	}

	if s.NextXID != 0 && !t.seen {
		t.first, t.seen = s.NextXID, true
	}

	if r.Kind == Running && !t.knowsn && !precedes(s.OldestXID, t.first) {
		t.knows, t.knowsn = r.Start, true
	}
}

// grow counts memory and refuses what is too much.
func (t *Transactions) grow(at LSN, n int) error {
	if t.size += n; t.size > maxOpen {
		return fail.Newf(fail.Exhausted, "read log", at.String(), "the tags of open and prepared transactions need more than %d bytes", maxOpen)
	}

	return nil
}

// weight is what tags cost in memory, about.
func weight(tags ...Message) (n int) {
	for _, m := range tags {
		n += 128 + len(m.Prefix) + len(m.Content)
	}

	return n
}

func (p prepared) weight() int { return 128 + len(p.gid) + weight(p.tags...) }
