package lab

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"drctl/internal/fail"
	"drctl/targets"
)

// CheckOptions say what was recovered, and what the outside saw.
type CheckOptions struct {
	Cut     targets.Cut
	Journal string
	// Postgres and Redis are the recovered instances by shard name ("0"), S3 is
	// the recovered bucket. Stores that are left out are not checked; sums over
	// all shards are checked only when no shard is left out.
	Postgres map[string]targets.Instance
	Redis    map[string]targets.Instance
	S3       *targets.Instance
	// Partial says that the traffic was killed: operations that were running
	// then have no record, and rows of theirs are no violation.
	Partial bool
	// Keep is how many violations of each rule are kept in full. Default 10.
	Keep int
}

// The rules of the checker.
const (
	RuleMissing  = "a: acknowledged before the cut and missing"
	RuleLate     = "b: committed after the cut and present"
	RuleHalf     = "c: present on some of its shards only"
	RuleSums     = "d: sums are not what they were"
	RulePrepared = "e: prepared transaction left"
	RuleCart     = "f: cart outside its bounds"
	RuleObject   = "g: object missing or wrong"
	RuleFailed   = "h: failed for its client and present"
	RuleStranger = "i: present and in nobody's journal"
)

// Violation is one broken promise.
type Violation struct {
	Rule    string `json:"rule"`
	Subject string `json:"subject"`
	Detail  string `json:"detail"`
}

// Report is what the checker found. Without violations the recovered stores
// are exactly the cut.
type Report struct {
	Cut        string         `json:"cut"`
	Operations int            `json:"operations"` // in the journal
	Before     int            `json:"before"`     // acknowledged before the fence: checked to be there
	After      int            `json:"after"`      // commit sent after the release: checked to be absent
	Between    int            `json:"between"`    // in flight at the cut: all or nothing
	Present    int            `json:"present"`    // operations found in the stores
	Objects    int            `json:"objects"`
	Bytes      int64          `json:"object_bytes"`
	Carts      int            `json:"carts"`
	Excused    int            `json:"excused"` // plain transfers that the platform itself had left half done
	Torn       int            `json:"torn"`    // unreadable journal lines
	Balance    int64          `json:"balance"`
	Stock      int64          `json:"stock"`
	Count      map[string]int `json:"count"` // of violations by rule
	Violations []Violation    `json:"violations,omitempty"`
	Took       time.Duration  `json:"took_ns"`

	keep int
}

// OK reports whether nothing was found.
func (r Report) OK() bool { return len(r.Count) == 0 }

func (r *Report) add(rule, subject, format string, args ...any) {
	r.Count[rule]++
	if r.Count[rule] <= r.keep {
		r.Violations = append(r.Violations, Violation{rule, subject, fmt.Sprintf(format, args...)})
	}
}

// op is what the journal says about one operation.
type op struct {
	kind         Kind
	style        Style
	outcome      Outcome
	shards       [2]int8 // -1: none
	money, goods int64
	key, sha     string
	commit, ack  int64
}

// bounds of a cart's number.
type bounds struct{ atLeast, atMost int64 }

// check is one run.
type check struct {
	opt      CheckOptions
	rep      Report
	ops      map[uuid.UUID]*op
	carts    map[int]*bounds
	cartAt   map[int]int // cart to Redis shard
	fenced   int64
	released int64
	balance  int64 // in the beginning, over all shards; of the first start record
	stock    int64
	shards   int // of the platform, by the start record
	found    map[uuid.UUID]*seen
}

// seen is an operation's trace in the stores.
type seen struct {
	mask         uint64 // of PostgreSQL shards
	money, goods [2]int64
	wrong        string
}

// Check compares recovered stores with what the clients saw from outside. It
// uses none of drctl's own machinery: plain queries, and the journal. An
// error means that the checking itself could not be done.
func Check(ctx context.Context, opt CheckOptions) (Report, error) {
	if opt.Keep <= 0 {
		opt.Keep = 10
	}
	if opt.Cut.FencedAt.IsZero() || opt.Cut.ReleasedAt.Before(opt.Cut.FencedAt) {
		return Report{}, fail.Newf(fail.Invalid, "lab: check", opt.Cut.ID, "the cut does not say when it was fenced and released")
	}
	start := time.Now()
	c := &check{opt: opt, ops: map[uuid.UUID]*op{}, carts: map[int]*bounds{}, cartAt: map[int]int{}, found: map[uuid.UUID]*seen{},
		fenced: opt.Cut.FencedAt.UnixNano(), released: opt.Cut.ReleasedAt.UnixNano(),
		rep: Report{Cut: opt.Cut.ID, Count: map[string]int{}, keep: opt.Keep}}
	var err error
	if c.rep.Torn, err = ReadJournal(opt.Journal, c.read); err != nil {
		return Report{}, err
	}
	if err := c.postgres(ctx); err != nil {
		return Report{}, err
	}
	c.judge()
	if err := c.redis(ctx); err != nil {
		return Report{}, err
	}
	c.rep.Operations = len(c.ops)
	c.rep.Took = time.Since(start)
	return c.rep, nil
}

// read takes one record of the journal in.
func (c *check) read(r Record) error {
	if r.Kind == Start {
		if c.shards == 0 {
			c.balance, c.stock, c.shards = r.Balance, r.Stock, len(r.Shards)
		}
		return nil
	}
	if r.Kind == Cart {
		c.readCart(r)
		return nil
	}
	id, err := uuid.Parse(r.ID)
	if err != nil {
		return fail.New(fail.Corrupt, "lab: read journal", r.ID, "", err)
	}
	if r.Outcome == Resolved {
		if o := c.ops[id]; o != nil {
			o.outcome, o.ack = Acked, r.Ack
			return nil
		}
		// Its client was killed: all that is known is that it was decided.
	}
	o := &op{kind: r.Kind, style: r.Style, outcome: r.Outcome, shards: [2]int8{-1, -1}, money: r.Money, goods: r.Goods,
		key: r.Key, sha: r.SHA256, commit: r.Commit, ack: r.Ack}
	for i, s := range r.Shards {
		if i < 2 {
			o.shards[i] = int8(s)
		}
	}
	c.ops[id] = o
	return nil
}

func (c *check) readCart(r Record) {
	b := c.carts[r.Cart]
	if b == nil {
		b = &bounds{}
		c.carts[r.Cart] = b
	}
	c.cartAt[r.Cart] = r.Shards[0]
	if r.Outcome == Acked && r.Ack < c.fenced {
		b.atLeast = max(b.atLeast, r.Seq)
	}
	if r.Outcome != Failed && r.Commit != 0 && r.Commit <= c.released {
		b.atMost = max(b.atMost, r.Seq)
	}
}

// judge applies the rules to every operation and to what was found.
func (c *check) judge() {
	for id, o := range c.ops {
		c.judgeOne(id, o, c.found[id])
	}
	for id, s := range c.found {
		if c.ops[id] == nil && !c.opt.Partial {
			c.rep.add(RuleStranger, id.String(), "on shards %s", maskNames(s.mask))
		}
	}
	c.rep.Present = len(c.found)
	slices.SortFunc(c.rep.Violations, func(a, b Violation) int {
		return strings.Compare(a.Rule+a.Subject, b.Rule+b.Subject)
	})
}

func (c *check) judgeOne(id uuid.UUID, o *op, s *seen) {
	var want, have uint64
	for _, n := range o.shards {
		if n >= 0 && c.has(int(n)) {
			want |= 1 << n
		}
	}
	if s != nil {
		have = s.mask & want
	}
	subject := string(o.kind) + " " + id.String()
	before := o.outcome == Acked && o.ack != 0 && o.ack < c.fenced
	after := o.commit != 0 && o.commit > c.released
	switch {
	case before:
		c.rep.Before++
		if have != want {
			c.rep.add(RuleMissing, subject, "acknowledged %s before the fence, on shards %s, found on %s",
				time.Duration(c.fenced-o.ack), maskNames(want), maskNames(have))
		}
	case after:
		c.rep.After++
		if have != 0 {
			c.rep.add(RuleLate, subject, "its commit was sent %s after the release, found on shards %s",
				time.Duration(o.commit-c.released), maskNames(have))
		}
	case o.outcome == Failed:
		if have != 0 {
			c.rep.add(RuleFailed, subject, "found on shards %s", maskNames(have))
		}
	default:
		c.rep.Between++
	}
	if have != 0 && have != want {
		if o.outcome == Unknown && o.style == Plain {
			// The platform's own doing: a server died between two plain commits.
			c.rep.Excused++
		} else {
			c.rep.add(RuleHalf, subject, "found on shards %s of %s", maskNames(have), maskNames(want))
		}
	}
	if s != nil && s.wrong == "" && o.kind == Transfer && o.money != 0 {
		for k, sign := range []int64{-1, 1} {
			if n := o.shards[k]; n >= 0 && have&(1<<n) != 0 && (s.money[k] != sign*o.money || s.goods[k] != sign*o.goods) {
				s.wrong = fmt.Sprintf("shard %d has money %d goods %d, the client sent %d and %d", n, s.money[k], s.goods[k], sign*o.money, sign*o.goods)
			}
		}
	}
	if s != nil && s.wrong != "" {
		c.rep.add(RuleMissing, subject, "%s", s.wrong)
	}
}

// has reports whether the recovered stores include a PostgreSQL shard.
func (c *check) has(n int) bool {
	_, ok := c.opt.Postgres[strconv.Itoa(n)]
	return ok
}

func maskNames(m uint64) string {
	if m == 0 {
		return "none"
	}
	var names []string
	for i := range 64 {
		if m&(1<<i) != 0 {
			names = append(names, strconv.Itoa(i))
		}
	}
	return strings.Join(names, ",")
}

// Summary is a few lines for people.
func (r Report) Summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cut %s: %d operations journaled; %d acknowledged before the cut, %d committed after it, %d in flight; %d found, %d carts, %d objects (%d bytes)\n",
		r.Cut, r.Operations, r.Before, r.After, r.Between, r.Present, r.Carts, r.Objects, r.Bytes)
	if r.OK() {
		b.WriteString("nothing is missing, nothing is too new, nothing is half, the sums hold\n")
	}
	for _, rule := range sortedKeys(r.Count) {
		fmt.Fprintf(&b, "VIOLATED %s: %d\n", rule, r.Count[rule])
		for _, v := range r.Violations {
			if v.Rule == rule {
				fmt.Fprintf(&b, "  %s: %s\n", v.Subject, v.Detail)
			}
		}
	}
	return b.String()
}
