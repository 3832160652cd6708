package switchover

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
)

const (
	opPrepare = "switch: prepare"
	opDrain   = "switch: drain"
	opStop    = "switch: stop"
	opPromote = "switch: promote"
	opProbe   = "switch: probe"
	opRelease = "switch: release"
	opUndo    = "switch: undo"
	// probeKey is among the keys that drctl's user may write.
	probeKey = "drctl:cut:probe"
	// settingAuth is the password that a replica gives to its master.
	settingAuth = "masterauth"
	// settingLeast is how many replicas a master needs to take writes.
	settingLeast = "min-replicas-to-write"
)

// Prepare judges both sides.
func (h *hands) Prepare(ctx context.Context) (out handover.Prepared, err error) {
	old, err := h.old.look(ctx, opPrepare)
	if err != nil {
		return out, err
	}

	next, err := h.new.look(ctx, opPrepare)
	if err != nil {
		return out, err
	}

	conflict := func(in targets.Instance, format string, args ...any) error {
		return fail.New(fail.Conflict, opPrepare, in.String(), "see drctl status for who is the master", fmt.Errorf(format, args...))
	}

	switch {
	case !old.master:
		return out, conflict(h.req.Old, "it is a replica of %s", old.of)
	case next.master:
		return out, conflict(h.req.New, "it is no replica")
	case next.id != old.id:
		return out, conflict(h.req.New, "it is of another history than the master")
	case !next.linked:
		return out, conflict(h.req.New, "its link to its master %s is down", next.of)
	}

	if old.offset > next.offset {
		out.Lag = old.offset - next.offset
	}

	if out.Lag > h.req.MaxLag {
		return out, fail.New(fail.Stalled, opPrepare, h.req.New.String(), "wait until it has caught up", fmt.Errorf("it is %d bytes behind, the limit is %d", out.Lag, h.req.MaxLag))
	}
	out.At = old.position()

	if _, err := h.new.caught(ctx, opPrepare, out.At); err != nil {
		return out, err
	}

	// The old side will be the replica.
	if auth, err := h.old.setting(ctx, settingAuth); err != nil {
		out.Warnings = append(out.Warnings, "whether the old side can log in as a replica is not known: "+fail.Cause(err))
	} else if auth == "" && !h.req.New.Password.IsZero() {
		return out, fail.New(fail.Invalid, opPrepare, h.req.Old.String(), "CONFIG SET masterauth (and masteruser) there", errors.New("as a replica it could not log in: it has no masterauth"))
	}

	if least, err := h.new.setting(ctx, settingLeast); err == nil && least != "0" && least != "" {
		out.Warnings = append(out.Warnings, "the new side takes no writes without "+least+" replicas (min-replicas-to-write)")
	}

	return out, nil
}

// setting reads one setting of a server.
func (s *side) setting(ctx context.Context, name string) (string, error) {
	c, err := s.client(opPrepare)
	if err != nil {
		return "", err
	}

	v, err := c.ConfigGet(ctx, name).Result()
	if err != nil {
		return "", s.o.Explain(opPrepare, s.in, err)
	}

	return v[name], nil
}

// pause lets the old side's writers wait for the lease.
func (h *hands) pause(ctx context.Context, op string) error {
	_, err := h.old.do(ctx, op, "client", "pause", strconv.FormatInt(max(h.req.Lease.Milliseconds(), 1), 10), "write")
	return err
}

// Drain lets writers wait, and waits until the new side has what they wrote.
func (h *hands) Drain(ctx context.Context) (targets.Position, error) {
	old, err := h.old.look(ctx, opDrain)
	if err != nil {
		return targets.Position{}, err
	}

	if old.follows(h.req.New) { // by a process before this one
		return old.position(), nil
	}

	if !old.master {
		return targets.Position{}, fail.Newf(fail.Conflict, opDrain, h.req.Old.String(), "it is a replica of %s", old.of)
	}

	if err := h.pause(ctx, opDrain); err != nil {
		return targets.Position{}, err
	}

	if old, err = h.old.look(ctx, opDrain); err != nil {
		return targets.Position{}, err
	}
	_, err = h.new.caught(ctx, opDrain, old.position())

	return old.position(), err
}

// Stop makes the old master a replica of the new side, which is still one itself:
// nobody takes writes, until Promote.
func (h *hands) Stop(ctx context.Context) (out handover.Stopped, err error) {
	at, err := h.Drain(ctx) // the lease begins anew, or is over and nothing has happened
	if err != nil {
		return out, err
	}

	old, err := h.old.look(ctx, opStop)
	if err != nil {
		return out, err
	}

	if old.master {
		if at, err = h.demote(ctx); err != nil {
			return out, err
		}
	}

	next, err := h.new.look(ctx, opStop)
	if err != nil {
		return out, err
	}

	if holds := next.id == at.Timeline && next.offset == at.Offset; !holds && !(next.before == at.Timeline && next.fork == at.Offset) {
		return out, fail.New(fail.Unverified, opStop, h.req.New.String(), "undo: the old side goes on as it was",
			fmt.Errorf("the old side's history ends at %v, the new side is at %v", at, next.position()))
	}

	return handover.Stopped{At: at, Last: at.Offset, Silence: handover.Silence{Instance: h.req.Old.String(), Kind: handover.SilentDemoted, Epoch: h.req.Epoch,
		By: "drctl", Detail: "a replica since " + at.String()}}, nil
}

// demote makes the old master a replica, and says where its history ended in the
// same instant.
func (h *hands) demote(ctx context.Context) (targets.Position, error) {
	host, port, err := net.SplitHostPort(h.req.New.Address)
	if err != nil {
		return targets.Position{}, fail.New(fail.Invalid, opStop, h.req.New.String(), "write the address as host:port", err)
	}

	c, err := h.old.client(opStop)
	if err != nil {
		return targets.Position{}, err
	}
	tx := c.TxPipeline()
	info := tx.Info(ctx, "replication")
	tx.Do(ctx, "replicaof", host, port)

	if _, err := tx.Exec(ctx); err != nil {
		return targets.Position{}, h.old.o.Explain(opStop, h.req.Old, err)
	}

	h.old.keepRole(ctx)

	return parse(info.Val()).position(), nil
}

// keepRole lets a restarted server be what it is now. One without a configuration file
// cannot; what follows its rejoining says so.
func (s *side) keepRole(ctx context.Context) { _, _ = s.do(ctx, opPromote, "config", "rewrite") }

// Promote makes the new side the master.
func (h *hands) Promote(ctx context.Context, req handover.PromoteRequest) (out handover.Promoted, err error) {
	if err := handover.CheckSilence(h.req.Epoch, append([]targets.Instance{h.req.Old}, h.req.Others...), req.Silence); err != nil {
		return out, fail.New(fail.Denied, opPromote, h.req.New.String(), "fence it first, or have a person sign that it is silent", err)
	}

	if err := h.oldIsReplica(ctx, req.Silence); err != nil {
		return out, err
	}

	next, err := h.new.look(ctx, opPromote)
	if err != nil {
		return out, err
	}

	if req.LaidDown.Timeline != "" {
		return h.laidDown(ctx, next, req)
	}

	if out.Again = next.master; !out.Again {
		if next.id != req.Line.Timeline || req.Exact && next.offset != req.Line.Offset {
			return out, fail.New(fail.Conflict, opPromote, h.req.New.String(), "choose another replica, or recover from the vault",
				fmt.Errorf("it is at %v, the master was at %v", next.position(), req.Line))
		}

		if _, err := h.new.do(ctx, opPromote, "replicaof", "no", "one"); err != nil {
			return out, err
		}

		if next, err = h.new.look(ctx, opPromote); err != nil {
			return out, err
		}
	}

	h.new.keepRole(ctx)

	if !next.master || next.before != req.Line.Timeline || req.Exact && next.fork != req.Line.Offset {
		return out, fail.New(fail.Conflict, opPromote, h.req.New.String(), "see drctl status for who is the master",
			fmt.Errorf("it is a master of %s, which left %s at %d; the old master was at %v", next.id, next.before, next.fork, req.Line))
	}
	out.Fork = targets.Position{Kind: targets.Redis, Timeline: next.before, Offset: next.fork}
	out.Begins = targets.Position{Kind: targets.Redis, Timeline: next.id, Offset: next.fork}

	return out, nil
}

// laidDown takes a master for what was laid down from a vault: whoever started it has shown
// that. It has a history of its own.
func (h *hands) laidDown(ctx context.Context, next seen, req handover.PromoteRequest) (out handover.Promoted, err error) {
	if !next.master {
		return out, fail.New(fail.Conflict, opPromote, h.req.New.String(), "see what was started in its place", errors.New("it is a replica, and not what was laid down from the vault"))
	}

	h.new.keepRole(ctx)
	out.Fork = req.LaidDown
	out.Begins = targets.Position{Kind: targets.Redis, Timeline: next.id, Offset: next.offset}

	return out, nil
}

// oldIsReplica looks for itself where the proof says that the old side was demoted.
func (h *hands) oldIsReplica(ctx context.Context, proofs []handover.Silence) error {
	for _, p := range proofs {
		if p.Instance != h.req.Old.String() || p.Kind != handover.SilentDemoted {
			continue
		}

		if old, err := h.old.look(ctx, opPromote); err == nil && old.master {
			return fail.New(fail.Denied, opPromote, h.req.New.String(), "stop it again", fmt.Errorf("the old side %s is a master", h.req.Old))
		}
	}

	return nil
}

// Probe writes a key and reads it while it writes it again.
func (h *hands) Probe(ctx context.Context) error {
	token := rand.Text()

	if _, err := h.new.do(ctx, opProbe, "set", probeKey, token, "px", "60000"); err != nil {
		return err
	}

	was, err := h.new.do(ctx, opProbe, "set", probeKey, token, "px", "60000", "get")
	if err != nil {
		return err
	}

	if was != token {
		return fail.Newf(fail.Unverified, opProbe, h.req.New.String(), "a key that was written is not there")
	}

	return nil
}

// Release lets the old side's writers go. An old side that is gone keeps nobody.
func (h *hands) Release(ctx context.Context) error {
	_, err := h.old.do(ctx, opRelease, "client", "unpause")
	if fail.Is(err, fail.Unavailable) && ctx.Err() == nil {
		return nil
	}

	return err
}

// Undo makes the old side a master again, and lets its writers go.
func (h *hands) Undo(ctx context.Context, begun bool) error {
	next, err := h.new.look(ctx, opUndo)
	if err != nil && begun {
		return fail.New(fail.CodeOf(err), opUndo, h.req.New.String(), "two masters are worse than none: look at it first", err)
	}

	if err == nil && next.master {
		return fail.New(fail.Conflict, opUndo, h.req.New.String(), "go on: it takes writes", errors.New("it has been promoted"))
	}

	old, err := h.old.look(ctx, opUndo)
	if err != nil {
		return err
	}

	if old.follows(h.req.New) {
		if _, err := h.old.do(ctx, opUndo, "replicaof", "no", "one"); err != nil {
			return err
		}

		if old, err = h.old.look(ctx, opUndo); err != nil {
			return err
		}

		h.old.keepRole(ctx)
	}

	if !old.master {
		return fail.Newf(fail.Conflict, opUndo, h.req.Old.String(), "it is a replica of %s", old.of)
	}

	return h.Release(ctx)
}
