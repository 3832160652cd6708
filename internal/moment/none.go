package moment

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/moment/words"
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
		cause, hint := words.Of(o, limit)
		n.add(Obstacle{Grade: targets.Grade(o.Grade), Shard: o.Shard, Why: o.Why, Cause: cause, Count: o.Count, Hint: hint})
	}
}
