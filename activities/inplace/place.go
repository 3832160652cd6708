package inplace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/sandbox/claim"
	"drctl/internal/servers"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

const op = "lay down in a standby's place"

// spare is what a volume is to have beyond what is laid down, in bytes.
const spare = 64 << 20

// Site is a standby whose place is taken, in one run. All calls may be repeated, also by
// another process after one that died.
type Site struct {
	Run  string
	In   targets.Instance // the standby
	Into plan.Destination
	Host handover.HostCommands
	Does handover.Replacer
}

// Check says whether so many bytes can be laid down there, and touches nothing.
func (s Site) Check(ctx context.Context, need int64) (said string, err error) {
	if _, ok, err := s.Note(); err != nil || ok {
		return "it was begun already", err
	}

	n, err := s.look(ctx)
	if err != nil {
		return "", err
	}

	return s.room(n, need)
}

// look finds out what is there, and where the shard is to be.
func (s Site) look(ctx context.Context) (n Note, err error) {
	if s.Into.Address != s.In.Address {
		return n, fail.New(fail.Conflict, op, s.In.String(), "name a destination at that address, or none",
			fmt.Errorf("it would be laid down at %s, where neither clients nor archivers look", s.Into.Address))
	}

	n = Note{Run: s.Run, Instance: s.In.String(), Phase: Noted}
	if n.Standing, err = s.Does.Standing(ctx, s.In, s.Host); err != nil {
		return n, err
	}

	if filepath.Clean(s.Into.DataDir) == filepath.Clean(s.In.DataDir) {
		n.Place = handover.Place{Dir: n.Standing.Dir, Kept: filepath.Join(filepath.Dir(n.Standing.Dir), filepath.Base(s.left()))}
		return n, s.movable(n)
	}

	empty, err := claim.Empty(s.Into.DataDir)
	if err == nil && !empty {
		err = fail.New(fail.Conflict, op, s.Into.DataDir, "empty it yourself, or name another destination", errors.New("the destination is not empty"))
	}

	if err != nil {
		return n, err
	}

	parent, err := filepath.EvalSymlinks(filepath.Dir(filepath.Clean(s.Into.DataDir)))
	n.Place = handover.Place{Dir: filepath.Join(parent, filepath.Base(s.Into.DataDir)), Kept: n.Standing.Dir}

	return n, fail.FromOS(op, s.Into.DataDir, err)
}

// movable refuses a directory that a rename cannot move aside.
func (s Site) movable(n Note) error {
	dir, parent := n.Place.Dir, filepath.Dir(n.Place.Dir)

	var own, above syscall.Stat_t
	if err := errors.Join(syscall.Stat(dir, &own), syscall.Stat(parent, &above)); err != nil {
		return fail.FromOS(op, dir, err)
	}

	if own.Dev != above.Dev {
		return fail.New(fail.Unsupported, op, s.In.String(), "let data_dir be a directory below the mount point, or name a destination at its address", fmt.Errorf("%s is a mount point, and cannot be moved aside", dir))
	}

	if err := unix.Access(parent, unix.W_OK); err != nil {
		return fail.New(fail.Denied, op, s.In.String(), "let the worker write to "+parent, fmt.Errorf("%s cannot be moved aside: %w", dir, err))
	}

	if _, err := os.Lstat(n.Place.Kept); !errors.Is(err, fs.ErrNotExist) {
		return fail.New(fail.Conflict, op, n.Place.Kept, "see what it is", errors.Join(errors.New("it is there already"), err))
	}

	return nil
}

// room compares what is laid down with what the volume has.
func (s Site) room(n Note, need int64) (string, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(n.Place.Dir), &st); err != nil {
		return "", fail.FromOS(op, n.Place.Dir, err)
	}
	free := int64(st.Bavail) * st.Bsize

	if need += spare; free < need {
		return "", fail.New(fail.Exhausted, op, s.In.String(), "make room, name a destination at its address on another volume, or take the newest: --choice newest",
			fmt.Errorf("%s are needed beside the standby's directory, which is kept, and %s are free at %s", human.Bytes(need), human.Bytes(free), filepath.Dir(n.Place.Dir)))
	}

	return fmt.Sprintf("%s free, %s needed", human.Bytes(free), human.Bytes(need)), nil
}

// Clear stops the standby and makes its place, or the destination, an empty directory. need
// is as of Check.
func (s Site) Clear(ctx context.Context, need int64) (n Note, err error) {
	n, ok, err := s.Note()
	if err != nil {
		return n, err
	}

	if ok && n.Phase == Returning { // who took it back has died
		if err := s.Back(ctx); err != nil {
			return n, err
		}

		ok = false
	}

	if !ok {
		if n, err = s.look(ctx); err != nil {
			return n, err
		}

		if _, err = s.room(n, need); err != nil {
			return n, err
		}

		if err := s.write(n); err != nil {
			return n, err
		}
	}

	if n.Phase != Noted {
		return n, nil
	}

	if err := s.moveAside(ctx, n); err != nil {
		return n, err
	}
	n.Phase = Cleared

	return n, s.write(n)
}

func (s Site) moveAside(ctx context.Context, n Note) error {
	moved := n.aside() && exists(n.Place.Kept)
	if !moved {
		if err := s.Does.Halt(ctx, s.In, n.Standing, s.Host); err != nil {
			return err
		}
	}

	if n.aside() && !moved {
		if err := os.Rename(n.Place.Dir, n.Place.Kept); err != nil {
			return fail.FromOS(op, n.Place.Dir, err)
		}
	}

	// Whatever supervises it may have been quicker.
	if in := servers.In(n.Place.Kept); len(in) > 0 {
		return fail.New(fail.Conflict, op, s.In.String(), "name stop for the instance, which keeps its supervisor from starting it", fmt.Errorf("a server (pid %d) was started again in its directory", in[0].Pid))
	}

	if err := os.Mkdir(n.Place.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fail.FromOS(op, n.Place.Dir, err)
	}

	if os.Geteuid() == 0 {
		if err := os.Chown(n.Place.Dir, n.Standing.UID, n.Standing.GID); err != nil {
			return fail.FromOS(op, n.Place.Dir, err)
		}
	}

	return fail.FromOS(op, n.Place.Dir, atomicfile.SyncDir(filepath.Dir(n.Place.Dir)))
}

// Lay has a shard laid down in the place that was cleared, and gives it the configuration of
// its server. A restore that found something wrong is an error of verification.
func (s Site) Lay(ctx context.Context, base targets.Artifact, restore func(context.Context) (plan.StepOut, error)) (n Note, err error) {
	n, ok, err := s.Note()
	if err != nil {
		return n, err
	}

	if !ok {
		return n, fail.Newf(fail.Conflict, op, s.In.String(), "its place was not cleared")
	}

	if n.Phase == Cleared {
		out, err := restore(ctx)
		if err != nil {
			return n, err
		}

		for _, f := range out.Findings {
			if f.Severity == targets.Failed {
				return n, fail.New(fail.Unverified, op, s.In.String(), "give up, and recover with --choice newest, or from another vault", fmt.Errorf("%s: %s: expected %s, got %s", f.Check, f.Detail, f.Expected, f.Got))
			}
		}

		n.Out, n.Phase = &out, Restored
		if err := s.write(n); err != nil {
			return n, err
		}
	}

	if n.Phase == Restored {
		if err := s.Does.Settle(ctx, s.In, n.Standing, n.Place, base); err != nil {
			return n, err
		}

		n.Phase = Settled
		if err := s.write(n); err != nil {
			return n, err
		}
	}

	if n.Phase != Settled && n.Phase != Woken {
		return n, fail.Newf(fail.Conflict, op, s.In.String(), "its place is %s, and not laid down", n.Phase)
	}

	return n, nil
}

// Wake starts the server of what was laid down. Nothing can be taken back from here on.
func (s Site) Wake(ctx context.Context) error {
	n, ok, err := s.Note()
	if err != nil {
		return err
	}

	if !ok || n.Phase != Settled && n.Phase != Woken {
		return fail.Newf(fail.Conflict, op, s.In.String(), "what is in its place was not laid down to its end")
	}

	n.Phase = Woken
	if err := s.write(n); err != nil {
		return err
	}

	return s.Does.Wake(ctx, s.In, n.Standing, n.Place, s.Host)
}

// Back stops what was begun, and starts the standby again in its own directory. What was
// laid down of the shard is moved aside as well, and nothing is deleted. Conflict: its server was woken.
func (s Site) Back(ctx context.Context) error {
	n, ok, err := s.Note()
	if err != nil || !ok {
		return err // nothing was touched
	}

	if n.Phase == Woken {
		return fail.New(fail.Conflict, op, s.In.String(), "leave it as it is: it may be the primary; the standby's directory is "+n.Place.Kept,
			errors.New("the server of what was laid down in its place was started, and may have taken writes"))
	}

	n.Phase = Returning
	if err := s.write(n); err != nil {
		return err
	}

	if begun := !n.aside() || exists(n.Place.Kept); begun {
		for _, p := range servers.In(n.Place.Dir) { // of a restore that was killed
			if err := p.Stop(ctx); err != nil {
				return err
			}
		}

		if err := s.Does.Unsettle(n.Standing, n.Place); err != nil {
			return err
		}

		if err := giveUp(n.Place.Dir, n.Run); err != nil {
			return err
		}
	}

	if n.aside() && exists(n.Place.Kept) {
		if err := os.Rename(n.Place.Kept, n.Place.Dir); err != nil {
			return fail.FromOS(op, n.Place.Kept, err)
		}
	}

	if err := atomicfile.SyncDir(filepath.Dir(n.Place.Dir)); err != nil {
		return fail.FromOS(op, n.Place.Dir, err)
	}

	if err := s.Does.Return(ctx, s.In, n.Standing, s.Host); err != nil {
		return err
	}

	return fail.FromOS(op, s.path(), os.Remove(s.path()))
}

// giveUp moves a directory away that was half laid down.
func giveUp(dir, run string) error {
	err := os.Remove(dir) // an empty one goes
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}

	for i := 1; ; i++ {
		to := fmt.Sprintf("%s.given-up-%s-%d", dir, run, i)
		if exists(to) {
			continue
		}

		return fail.FromOS(op, dir, os.Rename(dir, to))
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
