package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"syscall"

	"drctl/internal/fail"
)

// Status is how far an operation is known to have come.
type Status string

// The statuses. The last record of an id counts.
const (
	// Begun: nothing has been asked to be committed yet, or it has and the
	// answer is not in: CommitNS tells. Last of its id, it means that the
	// generator died.
	Begun Status = "begun"
	// Acked: every answer came; the operation is whole.
	Acked Status = "acked"
	// Unknown: a commit was sent and its answer did not come.
	Unknown Status = "unknown"
	// Failed: it certainly did not happen.
	Failed Status = "failed"
)

// Died is the reason of an operation whose client was made to die.
const Died = "its client died"

// The kinds of operation.
const (
	KindMoney = "money" // transfer between accounts of two shards
	KindStock = "stock" // transfer between SKUs of two shards
	KindOrder = "order"
	KindCart  = "cart"
	KindImage = "image"
	// KindBooking is a global transaction over two or three shards, KindSaga one over
	// several local transactions and seconds, KindChain an order that is followed
	// into Redis and back, KindLedger an entry in another database of the cluster
	// that follows one in the shop's, KindBatch a local transaction of half a minute.
	KindBooking = "booking"
	KindSaga    = "saga"
	KindChain   = "chain"
	KindLedger  = "ledger"
	KindBatch   = "batch"
)

// Record is one line of the journal. Times are UTC nanoseconds since 1970 of
// the generator's wall clock; zero when not reached.
type Record struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Style  string `json:"style,omitempty"`  // "2pc" or "plain" (transfers)
	Gate   bool   `json:"gate,omitempty"`   // the gate was held
	Shards []int  `json:"shards,omitempty"` // indexes; of a transfer the debit, then the credit
	Rows   []int  `json:"rows,omitempty"`   // account or SKU on each shard
	Amount int64  `json:"amount,omitempty"`

	BeginNS int64 `json:"begin_ns"`
	// CommitNS is just before the first COMMIT, COMMIT PREPARED or write
	// outside SQL was sent.
	CommitNS int64  `json:"commit_ns,omitempty"`
	AckNS    int64  `json:"ack_ns,omitempty"` // after the last answer
	Status   Status `json:"status"`
	Reason   string `json:"reason,omitempty"` // of failed and unknown; "resolved" when settled afterwards
	// Broken: its client died between two commits, and nobody mends it.
	Broken bool   `json:"broken,omitempty"`
	Steps  []Step `json:"steps,omitempty"`

	Cart int    `json:"cart,omitempty"` // number from 1; its master is (Cart-1) mod the number of masters
	Seq  int64  `json:"seq,omitempty"`
	Key  string `json:"key,omitempty"`
	SHA  string `json:"sha256,omitempty"`
	Size int64  `json:"size,omitempty"`
}

// Transfer says whether it moves something between two shards.
func (r Record) Transfer() bool { return r.Kind == KindMoney || r.Kind == KindStock }

// Global says whether it is made of local transactions that belong together.
func (r Record) Global() bool {
	return r.Transfer() || r.Kind == KindBooking || r.Kind == KindSaga
}

// Tagged says whether its local transactions were tagged.
func (r Record) Tagged() bool { return len(r.Steps) > 0 && r.Steps[0].Tag != "" }

// Acked is when the operation was acknowledged, or 0.
func (r Record) Acked() int64 {
	if r.Status != Acked {
		return 0
	}

	return r.AckNS
}

// Journal appends records. Every record is handed to the kernel at once, so a
// killed generator loses none; Flush brings them to the disk.
type Journal struct {
	mu  sync.Mutex
	f   *os.File
	buf bytes.Buffer
	enc *json.Encoder
	err error // the first failure; the traffic ends with it
}

// Open opens or makes a journal and cuts off a last line that a crash
// left incomplete. Conflict when another generator writes it.
func Open(path string) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fail.New(fail.Invalid, "shop: open journal", path, "name a file in a directory that exists", err)
	}

	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fail.New(fail.Conflict, "shop: open journal", path, "another generator writes this journal; stop it or name another file", err)
	}

	if err := trim(f); err != nil {
		_ = f.Close()
		return nil, fail.New(fail.Exhausted, "shop: open journal", path, "", err)
	}
	j := &Journal{f: f}
	j.enc = json.NewEncoder(&j.buf)

	return j, nil
}

// trim removes what follows the last newline.
func trim(f *os.File) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}

	block := make([]byte, 4096)
	for at := end; at > 0; {
		n := min(at, int64(len(block)))

		at -= n
		if _, err := f.ReadAt(block[:n], at); err != nil {
			return err
		}

		if i := bytes.LastIndexByte(block[:n], '\n'); i >= 0 {
			return f.Truncate(at + int64(i) + 1)
		}
	}

	return f.Truncate(0)
}

// Write appends a record. A failure is kept, because an operation that is not
// journaled must not be sent.
func (j *Journal) Write(r *Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()

	if j.err != nil {
		return j.err
	}

	j.buf.Reset()

	err := j.enc.Encode(r)
	if err == nil {
		_, err = j.f.Write(j.buf.Bytes())
	}

	if err != nil {
		j.err = fail.New(fail.Exhausted, "shop: write journal", j.f.Name(), "free some space", err)
	}

	return j.err
}

// Flush brings what was written to the disk. It does not stop writers: a slow
// disk must not look like a stall of the platform.
func (j *Journal) Flush() {
	if err := j.f.Sync(); err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()

		if j.err == nil {
			j.err = fail.New(fail.Exhausted, "shop: flush journal", j.f.Name(), "", err)
		}
	}
}

// Failed is the first failure to write, if there was one.
func (j *Journal) Failed() error {
	j.mu.Lock()
	defer j.mu.Unlock()

	return j.err
}

// Close brings everything to the disk and lets another generator in.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()

	if err := errors.Join(j.f.Sync(), j.f.Close()); err != nil {
		return fail.New(fail.Exhausted, "shop: close journal", j.f.Name(), "", err)
	}

	return nil
}

// Read reads the records in the order written. A last line that a crash
// left incomplete is passed over; any other line that is not a record ends the
// reading with an error of code corrupt.
func Read(path string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(Record{}, fail.New(fail.NotFound, "shop: read journal", path, "", err))
			return
		}
		defer f.Close()

		in := bufio.NewReaderSize(f, 1<<16)
		for n := 1; ; n++ {
			line, err := in.ReadBytes('\n')
			if err == io.EOF {
				return // with or without an incomplete line
			}

			if err != nil {
				yield(Record{}, fail.New(fail.Unavailable, "shop: read journal", path, "", err))
				return
			}

			var r Record
			if err := json.Unmarshal(line, &r); err != nil {
				yield(Record{}, fail.New(fail.Corrupt, "shop: read journal", path, "",
					fmt.Errorf("line %d is not a record: %w", n, err)))

				return
			}

			if !yield(r, nil) {
				return
			}
		}
	}
}
