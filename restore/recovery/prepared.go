package recovery

import (
	"fmt"
	"strconv"

	"drctl/restore/plan"
	"drctl/targets"
)

// maxPrepared is the setting without which a server does not start while transactions are prepared.
const maxPrepared = "max_prepared_transactions"

// tooManyPrepared warns where a server keeps more prepared transactions than its own configuration has room for: the
// recovery runs with enough, but the instance is started with what its base says. Of a
// base that does not say, nothing is known.
func tooManyPrepared(s plan.Step) (warning string, ok bool) {
	room, err := strconv.Atoi(s.Base.Settings[maxPrepared])
	if s.Kind != targets.Postgres || s.Into == (plan.Destination{}) || err != nil {
		return "", false
	}

	kept := 0
	for _, d := range s.InDoubt {
		if d.Action == targets.InDoubtLeave {
			kept++
		}
	}

	if kept <= room {
		return "", false
	}

	return fmt.Sprintf("%s: %d transactions stay prepared, and the server's own configuration has %s = %d: set it to %d or more before the instance is started, or it will not start",
		s.Shard, kept, maxPrepared, room, kept), true
}
