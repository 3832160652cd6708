package switchover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/postmaster"
)

// rewindOptions are those of pg_rewind's session with the new primary: no limit may
// end it.
const rewindOptions = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"

// rewind undoes what the old side has and the new one has not. What no vault has of
// it is saved before.
func (r *rejoin) rewind(ctx context.Context, fork targets.Position) error {
	if r.o.Rewind == nil {
		return r.rebuild(errors.New("there is no pg_rewind here"))
	}

	if !r.rewinding() { // else it was told and kept before
		if err := r.lose(ctx, fork); err != nil {
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
	if err := errors.Join(postmaster.Gone(ctx, r.req.Old.DataDir), r.setAside(), unseal(r.req.Old.DataDir)); err != nil {
		return err
	}

	r.req.Progress.Report("rewind", 0, 0)

	env := []string{"PGOPTIONS=" + rewindOptions, "PGPASSWORD=" + r.req.New.Password.Reveal()}
	if out, err := r.o.Rewind(ctx, env, args...); err != nil {
		if ctx.Err() != nil {
			return fail.New(fail.CodeOf(ctx.Err()), opRejoin, r.req.Old.String(), "repeat it", ctx.Err())
		}

		return r.rebuild(fmt.Errorf("pg_rewind: %w %.1000s", err, strings.TrimSpace(string(out))))
	}
	r.out.Method = "rewind"

	return r.putBack()
}

// lose tells what is about to be undone, and has what no vault has of it kept.
func (r *rejoin) lose(ctx context.Context, fork targets.Position) error {
	lost, err := r.o.Lost(ctx, handover.LossRequest{Old: r.req.Old, New: r.req.New, Fork: fork, Tail: nothingMore{r.req.Tail}})
	r.out.Kept = lost.Kept

	if err == nil && r.req.Lost != nil {
		err = r.req.Lost(ctx, lost)
	}

	if err != nil {
		return fail.New(fail.CodeOf(err), opRejoin, r.req.Old.String(), "nothing was rewound", err)
	}

	return nil
}

// nothingMore is a tail that may be missing: then all has to be kept already, which
// nobody knows.
type nothingMore struct{ handover.Tail }

// Lacks says that all is missing where nobody keeps it.
func (n nothingMore) Lacks(ctx context.Context, part targets.Span) (uint64, error) {
	if n.Tail == nil {
		return part.From, nil
	}

	return n.Tail.Lacks(ctx, part)
}

// Keep refuses where nobody keeps it.
func (n nothingMore) Keep(ctx context.Context, part targets.Span, log io.Reader) error {
	if n.Tail == nil {
		return fail.New(fail.Unverified, opRejoin, part.Timeline, "name a vault that takes it",
			fmt.Errorf("no vault has its log from %s to %s, and a rewind deletes it", targets.FormatLSN(part.From), targets.FormatLSN(part.To)))
	}

	return n.Tail.Keep(ctx, part, log)
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
			err = postmaster.WriteOwned(to, b)
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
