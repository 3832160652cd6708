package postgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
)

// LayDown implements handover.Rebuilder. The log lies in pg_wal, where a standby looks
// before it asks its primary.
func (d *Driver) LayDown(ctx context.Context, in targets.Instance, req targets.RestoreRequest, from targets.Source) ([]targets.Finding, error) {
	r := &restoreRun{d: d, in: in, req: req, from: from}

	for _, step := range []func(context.Context) error{r.check, r.resumeOrClaim, r.layDown, r.prepareDir, r.standBy} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}

	return r.out.Findings, r.claim.End()
}

// layDown writes the base's files and the log.
func (r *restoreRun) layDown(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.restoreBase(gctx) })
	g.Go(func() error {
		if err := r.writeWAL(gctx); err != nil {
			return err
		}

		return r.findNewSpaces(gctx)
	})

	return g.Wait()
}

// standBy makes a directory that is prepared to recover one that is to follow.
func (r *restoreRun) standBy(ctx context.Context) error {
	if err := os.Remove(filepath.Join(r.dir, "recovery.signal")); err != nil {
		return fail.FromOS(opRestore, r.dir, err)
	}

	if err := r.restoreConfig(ctx); err != nil {
		return err
	}

	files, err := os.ReadDir(r.walDir())
	if err != nil {
		return fail.FromOS(opRestore, r.walDir(), err)
	}

	for _, f := range files {
		if err := os.Rename(filepath.Join(r.walDir(), f.Name()), filepath.Join(r.dir, "pg_wal", f.Name())); err != nil {
			return fail.FromOS(opRestore, r.dir, err)
		}
	}

	auto, err := os.ReadFile(filepath.Join(r.dir, "postgresql.auto.conf"))
	if err == nil {
		if _, port, perr := splitAddress(r.in.Address); perr == nil && port != 0 {
			auto = fmt.Appendf(auto, "port = %d\n", port)
		}
		err = r.writeFile(filepath.Join(r.dir, "postgresql.auto.conf"), auto)
	}

	for name, content := range map[string]string{"standby.signal": "", handover.LaidDown: r.req.Base.ID,
		"postmaster.opts": fmt.Sprintf("%s \"-D\" \"%s\"\n", filepath.Join(r.tools.PostgresBin, "postgres"), r.dir)} {
		if err == nil {
			err = r.writeFile(filepath.Join(r.dir, name), []byte(content))
		}
	}

	if err != nil {
		return fail.FromOS(opRestore, r.dir, err)
	}

	return r.tools.RunAs.Own(r.dir)
}
