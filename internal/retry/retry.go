package retry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"drctl/internal/fail"
	"drctl/internal/human"
)

// Policy says what is tried again, and when. The zero value of a bound is no
// bound; the context always is one.
type Policy struct {
	// First is about how long the first wait is. Each one after it is about
	// twice as long, up to Max, which no wait exceeds. Max 0 is First.
	First, Max time.Duration
	// For bounds the time: no try begins later than this after Start or Reset.
	// The last wait is shortened to fit.
	For time.Duration
	// Tries bounds how often it is tried, the first time included.
	Tries int
	// If says which errors are tried again; nil is fail.Retryable.
	If func(error) bool
}

// On makes a Policy's If that tries the errors again that carry one of the codes.
func On(codes ...fail.Code) func(error) bool {
	return func(err error) bool { return slices.Contains(codes, fail.CodeOf(err)) }
}

// Any is a Policy's If that tries every error again.
func Any(error) bool { return true }

// Do calls try until it succeeds, fails with an error that the policy does not
// try again, or is given up. The error is that of the last call.
func Do(ctx context.Context, p Policy, try func() error) error {
	t := p.Start()
	for {
		err := try()
		if err == nil {
			return nil
		}

		if err := t.Again(ctx, err); err != nil {
			return err
		}
	}
}

// Tries is for loops that do more than to call again: one series of tries under
// a policy. It is not safe for use by several goroutines.
type Tries struct {
	policy Policy
	waits  *backoff.ExponentialBackOff
	began  time.Time
	failed int
}

// Start begins a series of tries.
func (p Policy) Start() *Tries {
	p.Max = max(p.Max, p.First)
	if p.If == nil {
		p.If = fail.Retryable
	}

	t := &Tries{policy: p, waits: &backoff.ExponentialBackOff{InitialInterval: p.First, MaxInterval: p.Max, Multiplier: 2, RandomizationFactor: 0.5}}
	t.Reset()

	return t
}

// Reset begins anew, as after a success: the waits are short again, and the
// bounds count from now on.
func (t *Tries) Reset() {
	t.waits.Reset()
	t.began, t.failed = time.Now(), 0
}

// Again is called with the error of a try. It returns nil, after a wait, when
// the caller is to try again, else the error to end with: err itself when the
// policy does not try it again, or err with how often and how long it was tried
// and, when that ended the tries, the error of the context.
func (t *Tries) Again(ctx context.Context, err error) error {
	t.failed++
	if ctx.Err() != nil {
		return t.ended(ctx, err)
	}

	if !t.policy.If(err) {
		return err
	}

	wait, took := t.next(), time.Since(t.began)
	if limit := t.policy.For; limit > 0 {
		wait = min(wait, limit-took)
	}

	if t.policy.Tries > 0 && t.failed >= t.policy.Tries || wait <= 0 {
		return fmt.Errorf("%w (%s)", err, t)
	}

	if Sleep(ctx, wait) != nil {
		return t.ended(ctx, err)
	}

	return nil
}

// Wait pauses for the next wait, for loops that have their own reason to go on.
// It returns the context's error when that ends first. It knows no bound.
func (t *Tries) Wait(ctx context.Context) error { return Sleep(ctx, t.next()) }

// next is the wait that comes next. The library jitters after it has capped.
func (t *Tries) next() time.Duration { return min(t.waits.NextBackOff(), t.policy.Max) }

// ended is the error of tries that the context ended.
func (t *Tries) ended(ctx context.Context, err error) error {
	if errors.Is(err, ctx.Err()) {
		return err // it says so itself
	}

	return fmt.Errorf("%w (%s, until %w)", err, t, ctx.Err())
}

// String says how often and how long it was tried: "tried 4 times in 12 s".
func (t *Tries) String() string {
	times := "once"
	if t.failed > 1 {
		times = human.Count(int64(t.failed)) + " times"
	}

	return fmt.Sprintf("tried %s in %s", times, human.Duration(time.Since(t.began)))
}

// Sleep pauses for d. It returns the context's error when that ends first, at
// once when it has ended before.
func Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}

	timer := time.NewTimer(d)
	defer timer.Stop()

	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
