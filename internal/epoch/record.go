package epoch

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"drctl/targets"
)

// Limits of a lease: a shorter one ends with every slow answer, and records are
// removed on the assumption that none is longer.
const (
	MinLease = time.Second
	MaxLease = time.Minute
)

// Kind is what a record is.
type Kind string

// The kinds of records.
const (
	// AClaim begins an epoch.
	AClaim Kind = "claim"
	// ARenewal says that somebody of the epoch's holder goes on.
	ARenewal Kind = "renewal"
)

// Guard is who has a region's servers under a lease: they end to write with it.
type Guard struct {
	Name   string `json:"name"`
	Holder string `json:"holder"`
	// Turn grows with everything that this guard says; of two entries the higher counts.
	Turn uint64 `json:"turn"`
	// Instances are the servers that the guard answers for; none when it has left.
	Instances []string `json:"instances,omitempty"`
	// Epoch is the one in which it said so. What it said in an earlier one that its region
	// held means nothing any more: a server may run without its guard since.
	Epoch uint64 `json:"epoch,omitempty"`
}

// Record is one entry of the sequence of a group in one voter.
type Record struct {
	V     int    `json:"v"`
	Group string `json:"group"`
	Kind  Kind   `json:"kind"`
	// Epoch and Claim together name an epoch: of two claims of one number at most
	// one wins a majority.
	Epoch uint64 `json:"epoch"`
	Claim string `json:"claim"`
	// Holder is the region that may write in this epoch.
	Holder string `json:"holder"`
	// By is the process that wrote the record, and Run what it claimed for.
	By  string `json:"by"`
	Run string `json:"run,omitempty"`
	// Lease is the same for everybody in an epoch.
	Lease Millis `json:"lease_ms"`
	// Planned claims leave the holder before time to end in order.
	Planned bool `json:"planned,omitempty"`
	// Over are the leases of earlier epochs that may still run, by their holder. While it names
	// another than Holder, nobody is live in this epoch.
	Over map[string]Millis `json:"over,omitempty"`
	// Voters are the names of those that the majority is counted of, sorted.
	Voters []string `json:"voters"`
	// Guards are all guards that were heard of, sorted by name.
	Guards []Guard `json:"guards,omitempty"`
	// Held are the highest epochs of each region that were heard of in front of this record,
	// whether their claims have won or not.
	Held map[string]uint64 `json:"held,omitempty"`
	// Nonce tells this write from any other.
	Nonce string `json:"nonce"`
	// At is the writer's wall clock, for people; nothing is computed with it.
	At time.Time `json:"at"`

	behind string // of a claim that is made: see Bid.Behind
}

// Millis is a duration, stored in milliseconds.
type Millis time.Duration

// MarshalJSON rounds up, so that no lease is stored shorter than it is.
func (m Millis) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, int64((time.Duration(m)+time.Millisecond-1)/time.Millisecond), 10), nil
}

// UnmarshalJSON reads milliseconds.
func (m *Millis) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || n < 0 || n > int64(MaxLease/time.Millisecond) {
		return fmt.Errorf("%.20q is not a lease in milliseconds", b)
	}
	*m = Millis(time.Duration(n) * time.Millisecond)

	return nil
}

// None is the ID of what is in front of the first record.
const None = "0/"

// ID names the epoch of a record among all claims.
func (r Record) ID() string { return strconv.FormatUint(r.Epoch, 10) + "/" + r.Claim }

// Settled reports whether nobody else's lease runs any more. A claim does not know:
// what another voter has in front of it may have been seen later.
func (r Record) Settled() bool {
	if r.Kind != ARenewal {
		return false
	}

	for h := range r.Over {
		if h != r.Holder {
			return false
		}
	}

	return true
}

// admits is the rule of every voter: what may stand directly behind last. The
// zero record is the empty sequence.
func admits(last, next Record) bool {
	if last.ID() == next.ID() {
		return true
	}

	if next.behind == "" || last.ID() == next.behind {
		return next.Epoch > last.Epoch
	}

	number, _, _ := strings.Cut(next.behind, "/")
	n, err := strconv.ParseUint(number, 10, 64)

	return err == nil && last.Epoch < n && next.Epoch > last.Epoch
}

// check reports what no writer of this package stores.
func (r Record) check(group string) error {
	switch {
	case r.V != 1:
		return fmt.Errorf("version %d is not known to this program", r.V)
	case r.Group != group:
		return fmt.Errorf("it is of group %.80q", r.Group)
	case r.Epoch == 0 || r.Claim == "" || r.Nonce == "" || !targets.IsName(r.Holder) || len(r.Voters) == 0:
		return errors.New("it lacks what every record has")
	case r.Kind != AClaim && r.Kind != ARenewal:
		return fmt.Errorf("kind %.40q is not known", r.Kind)
	case time.Duration(r.Lease) < MinLease || time.Duration(r.Lease) > MaxLease:
		return fmt.Errorf("a lease of %s", time.Duration(r.Lease))
	}

	return nil
}

// encode renders the record with a nonce of its own.
func (r Record) encode() []byte {
	b, _ := json.Marshal(r) // nothing in it can fail

	return b
}

// decode reads a record of the group.
func decode(group string, b []byte) (r Record, err error) {
	if err := json.Unmarshal(b, &r); err != nil {
		return r, err
	}

	return r, r.check(group)
}

// mergeGuards joins what is known of guards: of each the entry with the highest turn.
func mergeGuards(lists ...[]Guard) []Guard {
	byName := map[string]Guard{}
	for _, l := range lists {
		for _, g := range l {
			if old, ok := byName[g.Name]; !ok || g.Turn > old.Turn {
				byName[g.Name] = g
			}
		}
	}

	return slices.SortedFunc(maps.Values(byName), func(a, b Guard) int { return cmp.Compare(a.Name, b.Name) })
}

// mergeOver joins leases: of each holder the longest.
func mergeOver(into, from map[string]Millis) {
	for h, d := range from {
		into[h] = max(into[h], d)
	}
}

// mergeHeld notes whose epoch a record is of, and all that it knows of those before.
func mergeHeld(into map[string]uint64, r Record) {
	if r.Epoch > 0 {
		into[r.Holder] = max(into[r.Holder], r.Epoch)
	}

	for h, n := range r.Held {
		into[h] = max(into[h], n)
	}
}

const (
	root   = "epoch/"
	suffix = ".age"
)

// prefix is where the sequence of a group is.
func prefix(group string) string { return root + group + "/" }

// key names a record by its number, counted down, so that the newest sorts first
// and finding it costs the same however long the sequence is.
func key(group string, seq uint64) string {
	return fmt.Sprintf("%s%016X%s", prefix(group), ^seq, suffix)
}

// parseKey is the inverse of key.
func parseKey(group, k string) (seq uint64, ok bool) {
	name, ok := strings.CutPrefix(k, prefix(group))
	if !ok || len(name) != 16+len(suffix) {
		return 0, false
	}
	n, err := strconv.ParseUint(name[:16], 16, 64)

	return ^n, err == nil && key(group, ^n) == k
}

func nonce() string { return rand.Text() }
