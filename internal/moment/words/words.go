package words

import (
	"fmt"
	"time"

	"drctl/internal/proof"
)

// Of says what an obstacle means, and what to do.
func Of(o proof.Obstacle, limit time.Duration) (cause, hint string) {
	switch o.Why {
	case proof.BeginningUnknown:
		return "nobody saw its log reach the beginning of what was read", "wait until it was observed for some seconds"
	case proof.NoClockBound:
		return fmt.Sprintf("%d commits cannot be placed in time, because its clock was asked too seldom or was stepped", o.Count), "see whether the group's observer reaches it all the time"
	case proof.NeverQuiet:
		return "between no two of its commits is there a time that is surely after the one and before the other", "observe it from nearer: the answers of its clock take too long"
	case proof.NotTogether:
		return fmt.Sprintf("%d times the others were quiet together and it was not", o.Count), "look at more log"
	case proof.HalfDoneThen:
		if o.ID == proof.NamelessID {
			return "a prepared transaction was committed of which nobody knows what it belongs to, because it was prepared before the log that was read", "wait for " + limit.String()
		}

		return fmt.Sprintf("%d quiet instants fell into global transaction %q", o.Count, o.ID), "look at more log; with very many global transactions at a time use the gate"
	case proof.LogTooShort:
		return "tags and prepared transactions are not known for " + limit.String() + " before", "a transaction is open or prepared for very long, or the observer started a moment ago: see pg_prepared_xacts and pg_stat_activity, or wait"
	case proof.NoMarker:
		return "nobody asked it for its place then", "see whether the group's observer reaches it"
	case proof.MarkerOutside:
		return fmt.Sprintf("in %d quiet gaps nobody asked a Redis master for its place", o.Count), "ask more often, or let it be paused"
	case proof.NoCommonPause:
		return "of several Redis masters more than one was not paused", "let the observer pause them (redis: pause)"
	case proof.NotHeld:
		return "the gate, or the locks, were not held then", ""
	case proof.OutsideWindow:
		return fmt.Sprintf("%d quiet gaps lie outside of the time wanted", o.Count), "look at more log"
	case proof.NothingDeclared:
		return "the platform has neither tags nor two-phase commit nor a gate, so that nothing can be known of global transactions", "tag them: SELECT pg_logical_emit_message(true, 'drctl/global', '<id>/<number>')"
	}

	return string(o.Why), ""
}
