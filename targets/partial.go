package targets

import "fmt"

// Absent is a shard that a cut lacks, because it could not be reached when the cut
// was taken and the policy wanted a cut of the rest.
type Absent struct {
	Shard ShardID `json:"shard"`
	Why   string  `json:"why"`
}

// Partial reports whether the cut lacks a shard. Such a cut is used only by whom names
// it: it is never the latest, and it fulfils no objective.
func (c Cut) Partial() bool { return len(c.Without) > 0 }

// checkWithout does not judge the reasons: servers word them.
func (c Cut) checkWithout() error {
	if err := checkRange("number of shards that it lacks", int64(len(c.Without)), maxList); err != nil {
		return err
	}

	for _, a := range c.Without {
		if err := a.Shard.Check(); err != nil {
			return err
		}

		if _, ok := c.Point(a.Shard); ok {
			return fmt.Errorf("it lacks shard %s and has a point of it", a.Shard)
		}
	}

	return nil
}
