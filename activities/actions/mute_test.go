package actions

import (
	"context"
	"errors"
	"io"
	"testing"

	"drctl/internal/fail"
	"drctl/restore/plan"
	"drctl/targets"
)

// old is a server of the region that is left.
type old struct {
	targets.Driver
	Resolver
	st  targets.Status
	err error
}

func (o old) Reach(context.Context, targets.Instance) (targets.Status, error) { return o.st, o.err }

func (o old) Instance(context.Context, targets.ShardID, string) (targets.Instance, error) {
	return targets.Instance{Kind: targets.Postgres}, nil
}

// state and reply are errors as servers say them.
type (
	state string
	reply string
)

func (s state) Error() string    { return "SQLSTATE " + string(s) }
func (s state) SQLState() string { return string(s) }
func (r reply) Error() string    { return string(r) }
func (reply) RedisError()        {}

// A server that was fenced and says anything but that it is a standby is not silent: one whose power
// was taken may be starting again.
func TestWhoAnswersIsNotSilent(t *testing.T) {
	standby, primary := targets.Status{Reachable: true}, targets.Status{Reachable: true, Writable: true}
	of := func(cause error) error { return fail.New(fail.Unavailable, "probe", "orders/0@east", "", cause) }

	for name, c := range map[string]struct {
		o      old
		silent bool
	}{
		"a primary":             {old{st: primary}, false},
		"a primary, and slow":   {old{st: primary, err: of(context.DeadlineExceeded)}, false},
		"a standby":             {old{st: standby}, true},
		"a standby, and slow":   {old{st: standby, err: of(state("57014"))}, true},
		"it starts":             {old{err: of(state("57P03"))}, false},
		"no connection is free": {old{err: of(state("53300"))}, false},
		"a script runs":         {old{err: of(reply("BUSY"))}, false},
		"nobody":                {old{err: of(context.DeadlineExceeded)}, true},
		"a proxy":               {old{err: of(state("08P01"))}, true},
		"a closed door":         {old{err: of(io.EOF)}, true},
		"nothing is known":      {old{err: errors.New("no password")}, true},
	} {
		a := &Activities{Platform: c.o, Drivers: map[targets.Kind]targets.Driver{targets.Postgres: c.o}}

		if err := a.mute(t.Context(), definition(plan.ModeFailover), targets.ShardID{Target: "orders", Shard: "0"}); (err == nil) != c.silent || err != nil && !fail.Is(err, fail.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
