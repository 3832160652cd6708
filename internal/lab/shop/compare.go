package shop

import (
	"context"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/lab/shop/meter"
	"drctl/internal/retry"
)

// Trial is what is done to the customers in every other round of a run.
type Trial struct {
	Each   time.Duration // how long a round is; default 10 s
	Rounds int           // how many with, and as many without; default 3
	Every  time.Duration // how often Cut is called in a round; default a second
	Cut    func(context.Context) error
}

// Compare lets customers buy for a round that does not count, and then in rounds
// without cuts and rounds with cuts, one after the other in one run, and says what
// they felt in each. A cut that fails is counted and ends nothing.
func Compare(ctx context.Context, o TrafficOptions, trial Trial) (meter.Comparison, Summary, error) {
	if trial.Cut == nil {
		return meter.Comparison{}, Summary{}, fail.Newf(fail.Invalid, "shop: compare", o.Group, "there is nothing to try")
	}

	if trial.Each <= 0 {
		trial.Each = 10 * time.Second
	}

	if trial.Rounds <= 0 {
		trial.Rounds = 3
	}

	if trial.Every <= 0 {
		trial.Every = time.Second
	}
	o.Duration = 0

	m := meter.New()
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	var tried sync.WaitGroup

	o.started = func() {
		tried.Go(func() {
			defer stop()

			trial.run(ctx, m)
		})
	}

	sum, err := run(ctx, o, m)

	stop()
	tried.Wait()

	return m.Comparison(), sum, err
}

func (t Trial) run(ctx context.Context, m *meter.Meter) {
	if retry.Sleep(ctx, t.Each) != nil {
		return
	}

	m.Begin()

	for range t.Rounds {
		if retry.Sleep(ctx, t.Each) != nil {
			return
		}

		m.Try(true)
		t.round(ctx, m)
		m.Try(false)
	}
}

func (t Trial) round(ctx context.Context, m *meter.Meter) {
	end := time.Now().Add(t.Each)

	for next := time.Now(); next.Before(end); next = next.Add(t.Every) {
		if retry.Sleep(ctx, time.Until(next)) != nil {
			return
		}
		begin := time.Now()
		err := t.Cut(ctx)
		m.Tried(time.Since(begin), err)
	}

	_ = retry.Sleep(ctx, time.Until(end))
}
