package topology

import (
	"errors"
	"fmt"
	"strings"

	"drctl/internal/fail"
	"drctl/targets"
)

const op = "find the primary"

// Server is an instance of a shard and what it said of itself.
type Server struct {
	Instance targets.Instance
	Status   targets.Status
	Err      error // it did not answer
}

func (s Server) writable() bool { return s.Err == nil && s.Status.Writable }

// Elect picks the primary of a shard's servers, which are in the order of the
// configuration. Of several that accept writes it is the one that was promoted
// last: the others are former primaries that came back. It is a conflict when
// their logs do not tell. A bucket knows nothing of promotions: the first one
// stands. When no server accepts writes the error is the first server's.
func Elect(servers []Server) (Server, error) {
	var first error
	for _, s := range servers {
		if err := s.refusal(); err != nil && first == nil {
			first = err
		}
	}
	ws := writers(servers)

	switch {
	case len(ws) == 0:
		return Server{}, first
	case len(ws) == 1 || ws[0].Instance.Kind.Traits().Manifest:
		return ws[0], nil
	}

	i, ok := promotedLast(ws)
	if !ok {
		return Server{}, fail.New(fail.Conflict, op, ws[0].Instance.Shard.String(), "stop the wrong one before anything else is written to it",
			errors.New("more than one server accepts writes: "+names(ws)))
	}

	return ws[i], nil
}

// refusal is why a server is not the primary; nil when it may be.
func (s Server) refusal() error {
	switch {
	case s.Err != nil:
		return s.Err
	case !s.Status.Writable:
		return fail.New(fail.Unavailable, op, s.Instance.String(), "promote a standby, or mend the configuration", errors.New("the instance does not accept writes"))
	}

	return nil
}

// SplitBrain says what is wrong when more than one server of a PostgreSQL or
// Redis shard accepts writes, which of them is followed, and what to do; ""
// when nothing is wrong.
func SplitBrain(servers []Server) string {
	ws := writers(servers)
	if len(ws) < 2 || ws[0].Instance.Kind.Traits().Manifest {
		return ""
	}

	i, ok := promotedLast(ws)
	if !ok {
		return "more than one server takes writes: " + names(ws) + ": neither was promoted from the other, so there are no cuts and no archive; stop the wrong one before anything else is written to it"
	}

	return fmt.Sprintf("more than one server takes writes: %s: %s was promoted last, and archive, bases and cuts follow it; what the others take is lost to a recovery: stop them, or make them its standbys",
		names(ws), ws[i].Instance)
}

// writers are the servers that accept writes.
func writers(servers []Server) []Server {
	var out []Server
	for _, s := range servers {
		if s.writable() {
			s.Instance.Role = targets.Primary
			out = append(out, s)
		}
	}

	return out
}

// promotedLast returns the server that was promoted, by way of others or
// directly, from all the others; ok is false when there is none.
func promotedLast(ws []Server) (last int, ok bool) {
	for i := range ws {
		before := map[int]bool{i: true}
		for range ws {
			for x := range before {
				for y := range ws {
					if ws[x].promotedFrom(ws[y]) {
						before[y] = true
					}
				}
			}
		}

		if len(before) == len(ws) {
			return i, true
		}
	}

	return 0, false
}

// promotedFrom reports whether the server went on where the other's log was
// left: on a higher timeline of the same cluster (PostgreSQL), or under a new
// replication id with the other's as its parent (Redis).
func (s Server) promotedFrom(o Server) bool {
	own, other := s.Status.Position, o.Status.Position
	if own.Kind == targets.Redis {
		parent := s.Status.Parent.Timeline
		return parent != "" && parent == other.Timeline
	}
	sys, tli, err := targets.ParsePostgresTimeline(own.Timeline)
	osys, otli, oerr := targets.ParsePostgresTimeline(other.Timeline)

	return err == nil && oerr == nil && sys == osys && tli > otli
}

// names lists the servers with what tells their logs apart.
func names(ws []Server) string {
	out := make([]string, len(ws))
	for i, w := range ws {
		timeline := w.Status.Position.Timeline
		if sys, tli, err := targets.ParsePostgresTimeline(timeline); err == nil {
			out[i] = fmt.Sprintf("%s on timeline %d of cluster %s", w.Instance, tli, sys)
		} else {
			out[i] = fmt.Sprintf("%s with replication id %s", w.Instance, timeline)
		}
	}

	return strings.Join(out, ", ")
}
