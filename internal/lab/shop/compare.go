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
	// Switch, in place of Cut, switches on and off what takes cuts by itself. What customers do
	// meanwhile, and until it has settled, is of neither side.
	Switch func(ctx context.Context, on bool) error
}

// settles is how long what was switched takes to begin, or to end.
const settles = 3 * time.Second

// Compare lets customers buy for a round that does not count, and then in rounds
// without cuts and rounds with cuts, one after the other in one run, and says what
// they felt in each. A cut that fails is counted and ends nothing.
func Compare(ctx context.Context, o TrafficOptions, trial Trial) (meter.Comparison, Summary, error) {
	if (trial.Cut == nil) == (trial.Switch == nil) {
		return meter.Comparison{}, Summary{}, fail.Newf(fail.Invalid, "shop: compare", o.Group, "either a cut or a switch is tried")
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

		if t.Switch != nil {
			t.switched(ctx, m)
			continue
		}

		m.Try(true)
		t.round(ctx, m)
		m.Try(false)
	}
}

// switched is a round of what takes cuts by itself.
func (t Trial) switched(ctx context.Context, m *meter.Meter) {
	m.Rest()
	t.turn(ctx, m, true)
	m.Begin()
	m.Try(true)

	_ = retry.Sleep(ctx, t.Each)

	m.Try(false)
	m.Rest()
	t.turn(context.WithoutCancel(ctx), m, false) // nothing is left on
	m.Begin()
}

func (t Trial) turn(ctx context.Context, m *meter.Meter, on bool) {
	begin := time.Now()
	err := t.Switch(ctx, on)
	m.Tried(time.Since(begin), err)

	_ = retry.Sleep(ctx, settles)
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
