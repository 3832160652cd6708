package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"drctl/internal/fail"
)

// Kind of an operation of the shop.
type Kind string

// The kinds of journal records.
const (
	Start    Kind = "start"    // a traffic run begins; not an operation
	Transfer Kind = "transfer" // money and goods between two shards
	Order    Kind = "order"    // within one shard
	Cart     Kind = "cart"     // one write in Redis
	Image    Kind = "image"    // an object, then the row that names it
)

// Outcome of an operation as its client saw it.
type Outcome string

// The outcomes.
const (
	Acked   Outcome = "acked"   // every commit was confirmed
	Failed  Outcome = "failed"  // it ended before any commit was sent: no trace of it may stay
	Unknown Outcome = "unknown" // a commit was sent and not confirmed
	// Resolved follows an earlier unknown of the same id: a prepared
	// transaction was found and committed; Ack is when.
	Resolved Outcome = "resolved"
)

// Record is one line of the journal. Times are wall clock, UTC, nanoseconds
// since 1970; zero where the operation did not get so far.
type Record struct {
	ID      string  `json:"id,omitempty"` // UUID
	Kind    Kind    `json:"kind"`
	Style   Style   `json:"style,omitempty"` // of a transfer
	Outcome Outcome `json:"outcome,omitempty"`
	// Shards are the PostgreSQL shards in the order of their commits (Cart: the
	// Redis shard). Money and Goods went from the first to the second.
	Shards []int `json:"shards,omitempty"`
	Money  int64 `json:"money,omitempty"`
	Goods  int64 `json:"goods,omitempty"`
	// Cart and Seq: which cart, and the number of the write within it.
	Cart int   `json:"cart,omitempty"`
	Seq  int64 `json:"seq,omitempty"`
	// Key and SHA256 of an image.
	Key    string `json:"key,omitempty"`
	SHA256 string `json:"sha256,omitempty"`

	Begin  int64 `json:"begin"`            // before the first statement
	Commit int64 `json:"commit,omitempty"` // just before the first COMMIT (or the one write) was sent
	Ack    int64 `json:"ack,omitempty"`    // after the last confirmation

	Error string `json:"error,omitempty"`

	// Of a start record: the sums over all shards in the beginning.
	Seed    uint64 `json:"seed,omitempty"`
	Balance int64  `json:"balance,omitempty"`
	Stock   int64  `json:"stock,omitempty"`
}

// Journal appends records to a file outside the stores. Records are in the
// file after at most FlushEvery, and safe from a crash of the process then.
type Journal struct {
	mu   sync.Mutex
	f    *os.File
	w    *bufio.Writer
	err  error
	stop chan struct{}
	done chan struct{}
}

// FlushEvery is the longest time that a record stays in memory.
const FlushEvery = 50 * time.Millisecond

// OpenJournal opens or makes a journal for appending. A half line that a
// killed process left is closed first, so that it spoils no other.
func OpenJournal(path string) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fail.New(fail.Denied, "lab: open journal", path, "", err)
	}
	j := &Journal{f: f, w: bufio.NewWriterSize(f, 64<<10), stop: make(chan struct{}), done: make(chan struct{})}
	if st, err := f.Stat(); err == nil && st.Size() > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], st.Size()-1); err == nil && last[0] != '\n' {
			_ = j.w.WriteByte('\n')
		}
	}
	go j.flusher()
	return j, nil
}

func (j *Journal) flusher() {
	defer close(j.done)
	t := time.NewTicker(FlushEvery)
	defer t.Stop()
	for {
		select {
		case <-j.stop:
			return
		case <-t.C:
			j.mu.Lock()
			j.keep(j.w.Flush())
			j.mu.Unlock()
		}
	}
}

func (j *Journal) keep(err error) {
	if j.err == nil && err != nil {
		j.err = fail.New(fail.Exhausted, "lab: write journal", j.f.Name(), "free space; the journal is incomplete", err)
	}
}

// Append adds a record. A failure to write is reported by Close, and by Err
// meanwhile.
func (j *Journal) Append(r Record) {
	b, err := json.Marshal(r)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.keep(err)
	_, err = j.w.Write(append(b, '\n'))
	j.keep(err)
}

// Err is the first failure to write.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Close writes what is left, and syncs the file.
func (j *Journal) Close() error {
	close(j.stop)
	<-j.done
	j.mu.Lock()
	defer j.mu.Unlock()
	j.keep(j.w.Flush())
	j.keep(j.f.Sync())
	j.keep(j.f.Close())
	return j.err
}

// ReadJournal hands over every record in order. Unfinished lines, which a
// killed process leaves, are counted and left out.
func ReadJournal(path string, each func(Record) error) (torn int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fail.New(fail.NotFound, "lab: read journal", path, "", err)
	}
	defer func() { _ = f.Close() }()
	r := bufio.NewReaderSize(f, 256<<10)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return torn, fail.New(fail.Internal, "lab: read journal", path, "", err)
		}
		if len(line) > 1 {
			var rec Record
			if jerr := json.Unmarshal(line, &rec); jerr != nil {
				torn++
			} else if jerr := each(rec); jerr != nil {
				return torn, jerr
			}
		}
		if err != nil {
			return torn, nil
		}
	}
}
