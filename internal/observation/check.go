package observation

import (
	"cmp"
	"errors"
	"fmt"

	"drctl/targets"
)

const (
	maxName   = 200
	maxOffset = 1 << 62 // differences of offsets stay inside an int64
)

// Check reports what is wrong with a batch.
func (b Batch) Check() error {
	err := cmp.Or(checkName("group", b.Group), checkName("observer", b.Observer), targets.CheckText("queue", b.Queue))
	if err != nil {
		return err
	}

	switch took := b.Ended.Sub(b.Began); {
	case b.Until < b.Since:
		return fmt.Errorf("the batch ends at %d, before it begins at %d", b.Until, b.Since)
	case b.Began.UnixNano() <= 0 || took < 0 || took > MaxTook:
		return fmt.Errorf("the batch took %s from %s, by the wall clock", took, b.Began)
	case len(b.Shards) > MaxShards:
		return fmt.Errorf("%d shards are more than %d", len(b.Shards), MaxShards)
	}

	all := 0
	for i, s := range b.Shards {
		if err := b.checkSeen(s); err != nil {
			return fmt.Errorf("shard %.80q: %w", s.Shard, err)
		}

		if i > 0 && !follows(b.Shards[i-1], s) {
			return fmt.Errorf("shard %.80q is not sorted, or is there twice with one server", s.Shard)
		}

		all += len(s.Observations)
	}

	if all > MaxObservations {
		return fmt.Errorf("%d observations are more than %d", all, MaxObservations)
	}

	return b.checkHoles()
}

func (b Batch) checkHoles() error {
	if len(b.Holes) > MaxHoles || len(b.Holes) > 0 && b.Noted.IsZero() {
		return fmt.Errorf("%d holes, noted from %s", len(b.Holes), b.Noted)
	}

	for _, h := range b.Holes {
		if err := cmp.Or(h.Shard.Check(), targets.CheckText("trouble", h.Why)); err != nil {
			return err
		}

		if h.From.UnixNano() <= 0 || h.To.Before(h.From) || h.Least > h.Most {
			return fmt.Errorf("a hole from %s to %s, of a step of %s to %s", h.From, h.To, h.Least, h.Most)
		}
	}

	return nil
}

// follows reports whether b may come after a.
func follows(a, b Seen) bool {
	if c := a.Shard.Compare(b.Shard); c != 0 {
		return c < 0
	}

	return a.Shard == b.Shard && a.Server != b.Server
}

func (b Batch) checkSeen(s Seen) error {
	err := cmp.Or(s.Shard.Check(), s.Kind.Check(), targets.CheckText("server", s.Server), targets.CheckText("trouble", s.Trouble))
	if err != nil {
		return err
	}

	if s.Kind.Traits().Manifest {
		return errors.New("a store without a log cannot be observed")
	}

	if s.Server == "" && len(s.Observations) > 0 {
		return errors.New("no server said what was observed")
	}

	for i, o := range s.Observations {
		if err := cmp.Or(o.Check(), s.Kind.CheckTimeline(o.Timeline)); err != nil {
			return err
		}

		switch {
		case o.T0 < b.Since || o.T1 > b.Until:
			return fmt.Errorf("an observation from %d to %d is not of the batch, from %d to %d", o.T0, o.T1, b.Since, b.Until)
		case i > 0 && o.T0 < s.Observations[i-1].T0:
			return errors.New("the observations are not in order of time")
		case o.Flushed > maxOffset || o.Inserted > maxOffset:
			return fmt.Errorf("offset %d or %d is over %d", o.Flushed, o.Inserted, uint64(maxOffset))
		}
	}

	return nil
}

func checkName(what, s string) error {
	if len(s) > maxName || !targets.IsName(s) {
		return fmt.Errorf("%s %.80q is not a name", what, s)
	}

	return nil
}
