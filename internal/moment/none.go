package moment

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proof"
	"drctl/targets"
)

// Obstacle is something that is in the way of a moment, in words.
type Obstacle struct {
	// Grade that it is in the way of; empty for all.
	Grade targets.Grade `json:"grade,omitempty"`
	// Shard is zero where it is not one shard.
	Shard targets.ShardID `json:"shard,omitzero"`
	// Why is the kind of obstacle; empty where there is no kind.
	Why   proof.Why `json:"why,omitempty"`
	Cause string    `json:"cause"`
	// Count is how many quiet instants, or commits, it concerned; 0 where that means nothing.
	Count int `json:"count,omitempty"`
	// Hint says what to do.
	Hint string `json:"hint,omitempty"`
}

// Text says what is in the way, and where.
func (o Obstacle) Text() string { return subject(o) }

// None is the error when there is no moment of an acceptable grade.
type None struct{ Obstacles []Obstacle }

// Error names the first obstacles.
func (n *None) Error() string {
	var words []string
	for _, o := range n.Obstacles[:min(3, len(n.Obstacles))] {
		words = append(words, subject(o))
	}

	if more := len(n.Obstacles) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}

	return strings.Join(words, "; ")
}

func (n *None) add(o Obstacle) {
	if !slices.Contains(n.Obstacles, o) {
		n.Obstacles = append(n.Obstacles, o)
	}
}

// Obstacles are what was in the way, if that is what the error says.
func Obstacles(err error) []Obstacle {
	if n, ok := errors.AsType[*None](err); ok {
		return n.Obstacles
	}

	return nil
}

// nothing is the error of a request that found nothing.
func nothing(req *Request, n *None) error {
	if len(n.Obstacles) == 0 {
		n.add(Obstacle{Cause: "nobody observed the group's servers then", Hint: "see whether the group's observer runs; choose a time in: drctl cut list --window"})
	}

	hint := ""
	for _, o := range n.Obstacles {
		if hint = o.Hint; hint != "" {
			break
		}
	}

	return fail.New(fail.NotFound, opFind, req.Group, hint, n)
}

// words turn what was in the way of the search into obstacles.
func (n *None) words(res *proof.Result, limit time.Duration) {
	for _, s := range res.Steps {
		n.add(Obstacle{Shard: s.Shard, Cause: fmt.Sprintf("its clock was stepped by %s to %s", time.Duration(s.Least), time.Duration(s.Most)),
			Hint: "let the clock be slewed and not stepped (chrony: makestep only at start)"})
	}

	for _, o := range res.Obstacles {
		cause, hint := inWords(o, limit)
		n.add(Obstacle{Grade: targets.Grade(o.Grade), Shard: o.Shard, Why: o.Why, Cause: cause, Count: o.Count, Hint: hint})
	}
}

// inWords says what an obstacle means, and what to do.
func inWords(o proof.Obstacle, limit time.Duration) (cause, hint string) {
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
