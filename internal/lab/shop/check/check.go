package check

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/judge"
	"drctl/internal/lab/shop/stores"
	"drctl/targets"
)

// The rules of Check.
const (
	RuleAcked     = "acked-is-there"   // (a) every operation acknowledged before the barrier is wholly there
	RuleLater     = "later-is-not"     // (b) no operation whose commit was sent after the release is there
	RuleJournaled = "as-journaled"     // (c) every row is of a journaled operation that did not fail, on its shard, with its values
	RuleWhole     = "all-or-nothing"   // (d) every transfer is on both shards or on none, journaled or not
	RuleRows      = "rows-reconcile"   // (e) each account and SKU holds its first amount and what the operations that are there moved
	RuleSums      = "sums-hold"        // (f) balances and stock add up to the first sums; sold rows match the orders
	RulePrepared  = "nothing-prepared" // (g) no prepared transaction is left
	RuleCarts     = "carts-in-range"   // (h) each cart is between the last acknowledged and the last begun change; there is no other
	RuleImages    = "images-complete"  // (i) each row has its object, byte for byte
	RuleBarrier   = "fence-is-short"   // (j) the barrier held for no longer than a barrier can: between its ends anything passes
	RuleGrade     = "as-its-grade"     // (k) the cut is what its grade promises: see internal/lab/shop/judge
)

// Rules lists all rules in order.
var Rules = []string{RuleAcked, RuleLater, RuleJournaled, RuleWhole, RuleRows, RuleSums, RulePrepared, RuleCarts, RuleImages, RuleBarrier, RuleGrade}

// longestBarrier is more than any lease that holds writers up is set to.
const longestBarrier = 10 * time.Second

// Options say what is held against what.
type Options struct {
	Cut targets.Cut // QuiescedAt and ReleasedAt count
	// Claim is what is said of the cut; nil: it was taken by a barrier, whose ends are
	// Cut's. A claim without a span has Cut's.
	Claim *judge.Claim
	// Journals are those of all traffic since Setup: an operation that is in
	// none of them must not be in the stores. They may still be written.
	Journals        []string
	stores.Platform // the recovered instances, shards in the journals' order
	// BarrierOnly checks what the barrier promises about PostgreSQL alone, and
	// leaves out carts and images.
	BarrierOnly bool
	// Parallel bounds the objects read at once. Default 8.
	Parallel int
	// List bounds the violations that the report lists. Default 50.
	List int
}

// Violation is one thing that is not as it must be.
type Violation struct {
	Rule    string `json:"rule"`
	Subject string `json:"subject"`
	Detail  string `json:"detail"`
}

// listed is the default of Options.List.
const listed = 50

// Report is what Check found.
type Report struct {
	// OK: no rule is violated, and none was left out but by BarrierOnly.
	OK         bool             `json:"ok"`
	Cut        string           `json:"cut"`
	Checked    map[string]int64 `json:"checked"`               // things looked at, by rule
	NotChecked []string         `json:"not_checked,omitempty"` // rules without a store to check
	ByRule     map[string]int   `json:"violations_by_rule,omitempty"`
	Violations []Violation      `json:"violations,omitempty"` // the first Options.List
	Total      int              `json:"violations_total"`

	// The measured loss: what the customers had been told was done, and the
	// cut does not hold.
	LastAcked    time.Time     `json:"last_acked,omitzero"` // newest acknowledgement in the journal
	LostAfterCut int64         `json:"lost_after_cut"`      // operations acknowledged after QuiescedAt
	LossWindow   time.Duration `json:"loss_window_ns"`      // from QuiescedAt to LastAcked; 0 when nothing is lost
	Took         time.Duration `json:"took_ns"`
}

// checker collects findings from several goroutines.
type checker struct {
	Options
	quiesced, released int64
	ops                *history
	claim              judge.Claim
	carts              map[int]int64 // where each is

	mu  sync.Mutex
	rep Report
}

// Recovered holds recovered instances against the journal. What is wrong is in the
// report; an error means that the checking itself could not be done. Having
// compared nothing is a violation.
func Recovered(ctx context.Context, o Options) (Report, error) {
	begin := time.Now()

	if err := o.Validate(); err != nil {
		return Report{}, err
	}

	if o.Claim != nil && o.Claim.Span != (judge.Span{}) {
		o.Cut.QuiescedAt, o.Cut.ReleasedAt = time.Unix(0, o.Claim.Since), time.Unix(0, o.Claim.Until)
	}

	if o.Cut.QuiescedAt.IsZero() || o.Cut.ReleasedAt.Before(o.Cut.QuiescedAt) {
		return Report{}, fail.Newf(fail.Invalid, "shop: check", o.Cut.ID, "the cut has no times of its barrier, or in the wrong order")
	}

	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	k := &checker{Options: o, quiesced: o.Cut.QuiescedAt.UnixNano(), released: o.Cut.ReleasedAt.UnixNano()}
	k.rep = Report{Cut: o.Cut.ID, Checked: map[string]int64{}, ByRule: map[string]int{}}

	k.carts = map[int]int64{}

	if o.Claim != nil {
		k.claim = *o.Claim
	}

	k.claim.Span = judge.Span{Since: k.quiesced, Until: k.released}

	var err error
	if k.ops, err = readHistory(o.Journals, len(o.Postgres)); err != nil {
		return Report{}, err
	}

	k.loss()

	found, err := k.readShards(ctx)
	if err != nil {
		return Report{}, err
	}

	k.checkBarrier()
	k.checkPresence(found)
	k.checkJournaled(found)
	k.checkWhole(found)
	k.checkRows(found)
	k.checkSums(found)

	if err := k.checkStores(ctx, found); err != nil {
		return Report{}, err
	}

	if err := k.checkGrade(found); err != nil {
		return Report{}, err
	}
	k.rep.OK = k.rep.Total == 0 && (k.BarrierOnly || len(k.rep.NotChecked) == 0)
	k.rep.Took = time.Since(begin)

	return k.rep, nil
}

// Now is what Serving calls the cut, of which nothing is after.
const Now = "now"

// Serving holds a platform that serves now, and whose customers have left, against their
// journals: everything that was ever acknowledged is there. Conflict while somebody
// writes a journal.
func Serving(ctx context.Context, o Options) (Report, error) {
	for _, path := range o.Journals {
		j, err := journal.Open(path) // which nobody else may have open
		if err != nil {
			return Report{}, err
		}

		if err := j.Close(); err != nil {
			return Report{}, err
		}
	}

	now := time.Now().UTC()
	o.Claim, o.Cut = nil, targets.Cut{ID: Now, QuiescedAt: now, ReleasedAt: now}

	return Recovered(ctx, o)
}

// checkBarrier is rule (j).
func (k *checker) checkBarrier() {
	k.checked(RuleBarrier, 1)

	if held := time.Duration(k.released - k.quiesced); held > longestBarrier {
		k.violation(RuleBarrier, "cut "+k.Cut.ID, "its record says that the barrier held for %s, and no barrier holds for longer than %s", held, longestBarrier)
	}
}

func (k *checker) checkStores(ctx context.Context, found []*shardState) error {
	g, gctx := errgroup.WithContext(ctx)
	if k.BarrierOnly || len(k.Redis) == 0 {
		k.rep.NotChecked = append(k.rep.NotChecked, RuleCarts)
	} else {
		g.Go(func() error { return k.checkCarts(gctx) })
	}

	if k.BarrierOnly || !k.HasMedia() {
		k.rep.NotChecked = append(k.rep.NotChecked, RuleImages)
	} else {
		g.Go(func() error { return k.checkImages(gctx, found) })
	}

	return g.Wait()
}

func (k *checker) violation(rule, subject, format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()

	k.rep.Total++

	k.rep.ByRule[rule]++
	if len(k.rep.Violations) < cmp.Or(k.List, listed) {
		k.rep.Violations = append(k.rep.Violations, Violation{Rule: rule, Subject: subject, Detail: fmt.Sprintf(format, args...)})
	}
}

func (k *checker) checked(rule string, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rep.Checked[rule] += int64(n)
}

// history is the journal by operation.
type history struct {
	sql   map[uuid.UUID]*journal.Record // transfers, orders and images
	carts map[int][]cartWrite
	last  int64
	acks  []int64
}

type cartWrite struct{ seq, commit, ack int64 }

// readHistory reads the journals; the last record of each operation counts. A
// shard that the platform does not have is an error: the journal is another's.
func readHistory(paths []string, shards int) (*history, error) {
	h := &history{sql: map[uuid.UUID]*journal.Record{}, carts: map[int][]cartWrite{}}
	for _, path := range paths {
		if err := h.read(path, shards); err != nil {
			return nil, err
		}
	}

	for _, r := range h.sql {
		h.ack(r)
	}

	return h, nil
}

func (h *history) read(path string, shards int) error {
	carts := map[string]*journal.Record{}
	for r, err := range journal.Read(path) {
		if err != nil {
			return err
		}

		for _, s := range r.Shards {
			if s < 0 || s >= shards {
				return fail.Newf(fail.Invalid, "shop: check", path, "the journal names shard %d, and the platform has %d", s, shards)
			}
		}

		if r.Kind == journal.KindCart {
			carts[r.ID] = &r
			continue
		}

		id, err := uuid.Parse(r.ID)
		if err != nil {
			return fail.New(fail.Corrupt, "shop: check", path, "", err)
		}
		h.sql[id] = &r
	}

	for _, r := range carts {
		h.ack(r)

		if r.CommitNS > 0 {
			h.carts[r.Cart] = append(h.carts[r.Cart], cartWrite{r.Seq, r.CommitNS, r.Acked()})
		}
	}

	return nil
}

func (h *history) ack(r *journal.Record) {
	if at := r.Acked(); at > 0 {
		h.acks = append(h.acks, at)
		h.last = max(h.last, at)
	}
}

// loss measures what was acknowledged and is not in the cut.
func (k *checker) loss() {
	for _, at := range k.ops.acks {
		if at >= k.quiesced {
			k.rep.LostAfterCut++
		}
	}

	if k.ops.last > 0 {
		k.rep.LastAcked = time.Unix(0, k.ops.last).UTC()
	}

	if k.rep.LostAfterCut > 0 {
		k.rep.LossWindow = time.Duration(k.ops.last - k.quiesced)
	}
}
