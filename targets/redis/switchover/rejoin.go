package switchover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
)

const opRejoin = "rejoin"

// Rejoin makes the old master a replica of the new one and waits until it has caught
// up. A server that runs as a master loses what only it has, so that it has to be
// allowed.
func (s *Switcher) Rejoin(ctx context.Context, req handover.RejoinRequest) (out handover.Rejoined, err error) {
	old, next := &side{o: &s.o, in: req.Old}, &side{o: &s.o, in: req.New}
	defer old.close()
	defer next.close()

	to, err := next.look(ctx, opRejoin)
	if err != nil {
		return out, err
	}

	if !to.master {
		return out, fail.New(fail.Conflict, opRejoin, req.New.String(), "see drctl status for who is the master", errors.New("it is a replica"))
	}

	before, err := next.fullSyncs(ctx)
	if err != nil {
		return out, err
	}

	from, err := old.look(ctx, opRejoin)
	if err != nil {
		return out, err
	}

	if out.Method = "as it was"; !from.follows(req.New) {
		if err := demoteForGood(ctx, old, from, to, req, &out); err != nil {
			return out, err
		}
		out.Method = "partial"
	}

	if err := await(ctx, opRejoin, req.Old, func() string { return fmt.Sprintf("it is at %v, its master is at %v", from.position(), to.position()) }, func() (bool, error) {
		from, err = old.look(ctx, opRejoin)
		return err == nil && from.linked && from.id == to.id && from.offset >= to.offset, skip(err, fail.Unavailable)
	}); err != nil {
		return out, err
	}

	after, err := next.fullSyncs(ctx)
	if err == nil && out.Method == "partial" && after > before {
		out.Method = "full"
	}

	// Restarted, each would be again what its file says.
	for _, side := range []*side{old, next} {
		if _, err := side.do(ctx, opRejoin, "config", "rewrite"); err != nil {
			out.Warnings = append(out.Warnings, side.in.String()+" could not write its role into its configuration, and loses it when it is restarted: "+fail.Cause(err))
		}
	}

	return out, err
}

// skip drops an error of a code: a server that loads an image answers later.
func skip(err error, code fail.Code) error {
	if fail.Is(err, code) {
		return nil
	}

	return err
}

func demoteForGood(ctx context.Context, old *side, from, to seen, req handover.RejoinRequest, out *handover.Rejoined) error {
	shares := from.id == to.before && from.offset <= to.fork

	if from.master && !shares {
		if !req.MayRewind {
			return fail.New(fail.Conflict, opRejoin, req.Old.String(), "fence it, see what it lost, then allow it",
				fmt.Errorf("it is a master at %v, which the new master (%v, left %s at %d) does not hold", from.position(), to.position(), to.before, to.fork))
		}

		if req.Lost != nil {
			if err := req.Lost(ctx, lost(from, to)); err != nil {
				return fail.New(fail.CodeOf(err), opRejoin, req.Old.String(), "nothing was dropped", err)
			}
		}
		out.Warnings = append(out.Warnings, fmt.Sprintf("what only the old master had was dropped: it was at %v, the new one left that history at %d", from.position(), to.fork))
	}

	host, port, err := net.SplitHostPort(req.New.Address)
	if err != nil {
		return fail.New(fail.Invalid, opRejoin, req.New.String(), "write the address as host:port", err)
	}
	_, err = old.do(ctx, opRejoin, "replicaof", host, port)

	return err
}

// lost is what only the old master has. A server that was restarted has begun another
// history, and does not tell how far it was in the one before.
func lost(from, to seen) handover.Loss {
	l := handover.Loss{Part: targets.Span{Timeline: to.before, From: to.fork, To: to.fork}, Notes: []string{"the commands themselves were not kept"}}

	if from.id == to.before {
		l.Part.To, l.Read = from.offset, true
		l.Bytes = l.Part.To - l.Part.From
	} else {
		l.Notes = append(l.Notes, fmt.Sprintf("it is at %v, another history than the one that the new master left: how much is lost is not known", from.position()))
	}

	return l
}

// fullSyncs counts the images that a server has given to replicas.
func (s *side) fullSyncs(ctx context.Context) (int, error) {
	c, err := s.client(opRejoin)
	if err != nil {
		return 0, err
	}

	text, err := c.Info(ctx, "stats").Result()
	if err != nil {
		return 0, s.o.Explain(opRejoin, s.in, err)
	}

	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "sync_full:"); ok {
			return strconv.Atoi(n)
		}
	}

	return 0, nil
}
