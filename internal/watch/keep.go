package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/vault"
)

const (
	// maxKept bounds the observations that wait for vaults, which is memory: some
	// 100 bytes each.
	maxKept = 1 << 18
	// saveAgain is how often it is tried again, silentFor how long a vault that failed
	// is left alone, so that it holds up the others no more than it must.
	saveAgain = time.Second
	silentFor = 3 * time.Second
	// reopenAfter is how long a set of vaults is used before it is made sure which of
	// them can be reached.
	reopenAfter = 15 * time.Second
	// saveWithin is how long vaults may take for one batch, finishWithin how long
	// what is left may take when the observer ends.
	saveWithin   = 20 * time.Second
	finishWithin = 5 * time.Second
)

// keeper brings batches into the vaults, in their order. A batch that a vault missed
// is kept until it has it, as long as there is room.
type keeper struct {
	w    *Watcher
	wake chan struct{} // signalled (capacity 1) when something was added

	// Of the goroutine that stores.
	set    vault.Set
	opened time.Time
	found  chan vault.Set       // where a newer set comes from
	silent map[string]time.Time // until when a region's vault is left alone

	mu      sync.Mutex
	waiting []*pending // oldest first
	size    int        // observations in them
	trouble error      // why the newest batch is not in all vaults; nil when it is
	lost    int        // batches that no vault, or too few, took
	lostAt  time.Time  // the end of the newest of them
}

// pending is a batch that waits for vaults.
type pending struct {
	batch   observation.Batch
	size    int
	in      map[string]bool // regions whose vault has it
	durable bool
	done    chan struct{} // closed when it is durable or given up
	err     error         // why it was given up
}

// add queues a batch. The oldest go when there is no room.
func (k *keeper) add(b observation.Batch) {
	p := &pending{batch: b, in: map[string]bool{}, done: make(chan struct{}), size: 1}
	for _, s := range b.Shards {
		p.size += len(s.Observations) + 1
	}

	k.mu.Lock()
	k.waiting = append(k.waiting, p)
	k.size += p.size

	for len(k.waiting) > 1 && k.size > maxKept {
		k.drop(k.waiting[0])
	}

	k.mu.Unlock()

	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// drop removes one that is waiting. It needs mu.
func (k *keeper) drop(p *pending) {
	for i, x := range k.waiting {
		if x == p {
			k.waiting = append(k.waiting[:i:i], k.waiting[i+1:]...)
			k.size -= p.size
		}
	}

	if p.durable {
		return
	}

	if k.lost++; k.lost == 1 {
		k.w.o.Log.Error("observations are lost: too few vaults take them; no cut of that time can be proven",
			"group", k.w.o.Group, "since", p.batch.Began, logs.Err, k.trouble)
	}
	k.lostAt, p.err = p.batch.Ended, fail.New(fail.Unavailable, op, k.w.o.Group, "bring the vaults back", errors.New("the observations were dropped before the vaults took them"))
	close(p.done)
}

// run stores until the context ends.
func (k *keeper) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-time.After(saveAgain):
		}

		k.saveAll(ctx)
	}
}

// saveAll tries every batch that waits once.
func (k *keeper) saveAll(ctx context.Context) {
	k.mu.Lock()
	todo := append([]*pending(nil), k.waiting...)
	k.mu.Unlock()

	if len(todo) == 0 {
		return
	}

	if !k.open(ctx) {
		return
	}

	for _, p := range todo {
		k.save(ctx, p)
	}
}

// open finds out which vaults can be reached, and reports whether one can. Once
// there is a set it is used until there is a newer one: a vault that is away can take
// long to say so.
func (k *keeper) open(ctx context.Context) bool {
	if time.Since(k.opened) > reopenAfter {
		k.opened = time.Now()
		found := make(chan vault.Set, 1)
		k.found = found

		go func() {
			set, err := k.w.o.Vaults(ctx)
			if err != nil {
				k.note(err)
			}

			found <- set
		}()
	}

	if len(k.set.Vaults) == 0 && k.found != nil {
		select {
		case k.set = <-k.found:
		case <-ctx.Done():
		}
	}

	select {
	case set := <-k.found:
		if len(set.Vaults) > 0 {
			k.set = set
		}
	default:
	}

	if len(k.set.Vaults) == 0 {
		k.opened = time.Time{} // at once, the next time
	}

	return len(k.set.Vaults) > 0
}

// save brings a batch into those vaults that lack it.
func (k *keeper) save(parent context.Context, p *pending) {
	ctx, cancel := context.WithTimeout(parent, saveWithin)
	defer cancel()

	to := vault.Set{Durability: 1}
	for _, v := range k.set.Vaults {
		if !p.in[v.Region()] && time.Now().After(k.silent[v.Region()]) {
			to.Vaults = append(to.Vaults, v)
		}
	}

	if len(to.Vaults) > 0 {
		errs, err := batches.SaveEach(ctx, to, p.batch)
		for i, e := range errs {
			region := to.Vaults[i].Region()

			switch {
			case e == nil:
				p.in[region] = true
			case fail.Is(e, fail.Conflict):
				err = e
			default:
				k.silent[region] = time.Now().Add(silentFor)
				k.note(fmt.Errorf("vault of %s: %w", region, e))
			}
		}

		if err != nil { // it can never be stored
			k.note(err)
			k.mu.Lock()
			defer k.mu.Unlock()

			k.drop(p)

			return
		}
	}

	k.settle(p)
}

// settle notes how many vaults have a batch.
func (k *keeper) settle(p *pending) {
	k.mu.Lock()
	defer k.mu.Unlock()

	if !p.durable && len(p.in) >= k.set.Need() {
		p.durable = true

		if p.err == nil { // else it was dropped meanwhile
			close(p.done)
		}
	}

	switch all := len(k.set.Vaults) + len(k.set.Away); {
	case len(p.in) < len(k.set.Vaults):
		return
	case len(p.in) < all:
		k.trouble = fmt.Errorf("out of reach: the vault of %s", strings.Join(k.set.Away, " and that of "))
		return
	}

	k.drop(p)

	if len(k.waiting) == 0 {
		k.trouble = nil
	}
}

func (k *keeper) note(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()

	if k.trouble == nil {
		k.w.o.Log.Warn("a vault does not take observations; trying again", "group", k.w.o.Group, logs.Err, err)
	}
	k.trouble = err
}

// finish tries once more for all that waits, when the observer ends.
func (k *keeper) finish(ctx context.Context) {
	clear(k.silent)

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
	defer cancel()

	k.saveAll(ctx)
}
