package switchover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/control"
	"drctl/targets/postgres/postmaster"
)

const (
	opUndo = "switch: undo"
	// patience is for how long a stop that was begun may go on before it is cut short.
	patience = 3 * time.Second
)

// Undo starts the old server again, writable.
func (h *hands) Undo(ctx context.Context, begun bool) error {
	v, err := h.new.look(ctx, opUndo)
	if err != nil && begun {
		return fail.New(fail.CodeOf(err), opUndo, h.req.New.String(), "two primaries are worse than none: look at it first", err)
	}
	answers := err == nil

	if answers && !v.standby {
		return fail.New(fail.Conflict, opUndo, h.req.New.String(), "go on: it takes writes", errors.New("it has been promoted"))
	}

	if err := h.ended(ctx); err != nil {
		return err
	}

	// What runs there as a standby is not what was stopped: it may be the new side's own.
	if st, err := control.ReadState(h.req.Old.DataDir); err != nil || st.Phase == control.InArchiveRecovery {
		return fail.New(fail.Unverified, opUndo, h.req.Old.String(), "start the old primary by hand, on its host", errors.Join(fmt.Errorf("what is in %s is not the old primary that was stopped", h.req.Old.DataDir), err))
	}

	if err := unseal(h.req.Old.DataDir); err != nil {
		return err
	}

	if err := start(ctx, opUndo, h.req.Old, h.req.Host); err != nil {
		return err
	}

	old, err := h.old.look(ctx, opUndo)
	if err != nil {
		return err
	}

	if old.standby {
		return fail.New(fail.Unverified, opUndo, h.req.Old.String(), "is there a recovery.signal or standby.signal elsewhere?", errors.New("it was started and is a standby"))
	}

	if !answers { // what Prepare made there stays, and drctl status shows it
		return nil
	}

	name, err := h.new.followerSlot(ctx, opUndo)
	if err != nil {
		return err
	}

	return h.new.dropSlots(ctx, opUndo, h.o.Slot, name)
}

// ended waits for a stop that was begun, and stops a server that somebody started
// while it was sealed. One that was never stopped is left alone.
func (h *hands) ended(ctx context.Context) error {
	srv, err := postmaster.Find(h.req.Old.DataDir)
	if fail.Is(err, fail.NotFound) {
		return nil
	}

	if err != nil {
		return err
	}

	if srv.Status == postmaster.Stopping {
		soon, cancel := context.WithTimeout(ctx, patience)
		defer cancel()

		if err := srv.Stop(soon); err != nil {
			return srv.Abort(ctx)
		}

		return nil
	}

	v, err := h.old.look(ctx, opUndo)
	if err != nil || !v.standby {
		return err
	}

	return srv.Stop(ctx)
}

func unseal(dir string) error {
	path := filepath.Join(dir, sealFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail.FromOS(opUndo, path, err)
	}

	return nil
}

// start starts a server, by command or as it was started before.
func start(ctx context.Context, op string, in targets.Instance, host handover.HostCommands) error {
	if len(host.Start) > 0 {
		if err := proc.Command(ctx, op, in.String(), host.Start); err != nil {
			return err
		}
	}

	if _, err := postmaster.Start(ctx, in.DataDir); err != nil {
		return fail.New(fail.CodeOf(err), op, in.String(), "see the server's log", fmt.Errorf("it did not start: %w", err))
	}

	return nil
}
