package switchover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"drctl/internal/fail"
	"drctl/targets/handover"
	"drctl/targets/postgres/localwal"
	"drctl/targets/postgres/timelines"
)

// rewindOptions are those of pg_rewind's session with the new primary: no limit may
// end it.
const rewindOptions = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"

// rewind undoes what the old side has and the new one has not. What no vault has of
// it is saved before.
func (r *rejoin) rewind(ctx context.Context, log *localwal.Log, end timelines.Point) error {
	if r.o.Rewind == nil {
		return r.rebuild(fmt.Errorf("there is no pg_rewind here"))
	}

	if !r.rewinding() { // else it was kept before
		if err := r.keep(ctx, log, end); err != nil {
			return err
		}
	}

	// The program reads the new primary's timeline from its control file, which
	// names the new one only from a checkpoint on.
	if err := r.new.run(ctx, opRejoin, r.new.grant("pg_checkpoint"), "CHECKPOINT"); err != nil {
		return err
	}

	args := []string{"--target-pgdata", r.req.Old.DataDir, "--source-server", r.source()}
	if r.req.RestoreCommand != "" {
		if err := configure(r.req.Old.DataDir, map[string]string{"restore_command": r.req.RestoreCommand}); err != nil {
			return err
		}
		args = append(args, "--restore-target-wal")
	}

	// It recovers the old side in single-user mode, which takes no standby.
	if err := errors.Join(r.setAside(), unseal(r.req.Old.DataDir)); err != nil {
		return err
	}

	r.req.Progress.Report("rewind", 0, 0)

	env := []string{"PGOPTIONS=" + rewindOptions, "PGPASSWORD=" + r.req.New.Password.Reveal()}
	if out, err := r.o.Rewind(ctx, env, args...); err != nil {
		if ctx.Err() != nil {
			return fail.New(fail.CodeOf(ctx.Err()), opRejoin, r.req.Old.String(), "repeat it", ctx.Err())
		}

		return r.rebuild(fmt.Errorf("pg_rewind: %.1000s", strings.TrimSpace(string(out))))
	}
	r.out.Method = "rewind"

	return r.putBack()
}

// ownFiles are those that the old side keeps: pg_rewind takes the new primary's, and
// removes the last.
var ownFiles = []string{"postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf", "postmaster.opts"}

// aside is where they are meanwhile. While it is there a rewind has not ended, and
// the directory is no server's.
func (r *rejoin) aside() string { return filepath.Clean(r.req.Old.DataDir) + ".rewinding" }

// rewinding reports whether an attempt before this one has not ended.
func (r *rejoin) rewinding() bool {
	_, err := os.Stat(r.aside())
	return err == nil
}

func (r *rejoin) setAside() error {
	if r.rewinding() {
		return nil
	}
	making := r.aside() + ".new"

	if err := errors.Join(os.RemoveAll(making), os.Mkdir(making, 0o700)); err != nil {
		return fail.FromOS(opRejoin, making, err)
	}

	for _, name := range ownFiles {
		b, err := os.ReadFile(filepath.Join(r.req.Old.DataDir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}

		if err == nil {
			err = os.WriteFile(filepath.Join(making, name), b, 0o600)
		}

		if err != nil {
			return fail.FromOS(opRejoin, name, err)
		}
	}

	if err := os.Rename(making, r.aside()); err != nil {
		return fail.FromOS(opRejoin, making, err)
	}

	return nil
}

func (r *rejoin) putBack() error {
	for _, name := range ownFiles {
		to := filepath.Join(r.req.Old.DataDir, name)

		b, err := os.ReadFile(filepath.Join(r.aside(), name))
		switch {
		case err == nil:
			err = writeOwned(to, b)
		case errors.Is(err, os.ErrNotExist):
			if err = os.Remove(to); errors.Is(err, os.ErrNotExist) {
				err = nil
			}
		}

		if err != nil {
			return fail.FromOS(opRejoin, to, err)
		}
	}

	if err := os.RemoveAll(r.aside()); err != nil {
		return fail.FromOS(opRejoin, r.aside(), err)
	}

	return nil
}

// source is the new primary in pg_rewind's words, without the password.
func (r *rejoin) source() string {
	var words []string
	for _, w := range strings.Fields(r.conninfo()) {
		if !strings.HasPrefix(w, "password=") {
			words = append(words, w)
		}
	}

	database := r.req.New.Database
	if database == "" {
		database = "postgres"
	}

	return strings.Join(append(words, "dbname="+connQuote(database)), " ")
}

var _ handover.Switcher = (*Switcher)(nil)
