package replace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/control"
	"drctl/targets/postgres/postmaster"
)

const (
	opLook   = "look at a standby"
	opHalt   = "stop a standby"
	opSettle = "settle a restored server"
	opWake   = "start a restored server"
	// goneWithin is how long a process may still be there after the command that stops it.
	goneWithin = 5 * time.Second
)

// Replacer implements handover.Replacer.
type Replacer struct {
	// At asks a standby where it stands. Conflict: it is none.
	At func(ctx context.Context, in targets.Instance) (targets.Position, error)
}

var _ handover.Replacer = Replacer{}

// Standing implements handover.Replacer.
func (r Replacer) Standing(ctx context.Context, in targets.Instance, host handover.HostCommands) (st handover.Standing, err error) {
	if st.Dir, err = filepath.EvalSymlinks(in.DataDir); err != nil {
		return st, fail.FromOS(opLook, in.DataDir, err)
	}

	if st.UID, st.GID, err = postmaster.Owner(st.Dir); err != nil {
		return st, fail.FromOS(opLook, st.Dir, err)
	}

	srv, err := postmaster.Find(st.Dir)
	switch {
	case fail.Is(err, fail.NotFound):
		err = noPrimary(in, st.Dir)
	case err == nil:
		if err = answersFor(in, srv); err == nil {
			st.At, err = r.At(ctx, in)
		}
	}

	if err != nil {
		return st, err
	}

	command, err := postmaster.LastCommand(st.Dir)
	if err != nil && len(host.Start) == 0 {
		return st, err
	}

	if err == nil {
		st.Program, st.Args = command[0], command[1:]
	}

	return st, nil
}

// noPrimary refuses a directory in which a primary was at work, or nobody knows who.
func noPrimary(in targets.Instance, dir string) error {
	st, err := control.ReadState(dir)
	if err != nil {
		return fail.New(fail.Unverified, opLook, in.String(), "see what is in "+dir+", and move it away yourself", fmt.Errorf("whose directory it is cannot be told: %w", err))
	}

	if st.Phase != control.InArchiveRecovery && st.Phase != control.ShutDownInRecovery {
		return fail.New(fail.Conflict, opLook, in.String(), "see drctl status: has the group moved already?", fmt.Errorf("what is in %s is no standby: it is %s", dir, st.Phase))
	}

	return nil
}

// answersFor makes sure that the server of the directory is that of the address.
func answersFor(in targets.Instance, srv postmaster.Server) error {
	_, port, err := net.SplitHostPort(in.Address)
	if err != nil || strconv.Itoa(srv.Port) == port {
		return nil
	}

	return fail.New(fail.Invalid, opLook, in.String(), "correct data_dir", fmt.Errorf("the server in %s listens at port %d", srv.Dir, srv.Port))
}

// Halt implements handover.Replacer.
func (r Replacer) Halt(ctx context.Context, in targets.Instance, st handover.Standing, host handover.HostCommands) error {
	srv, err := postmaster.Find(st.Dir)
	if fail.Is(err, fail.NotFound) {
		return postmaster.Gone(ctx, st.Dir)
	}

	if err != nil {
		return err
	}

	// Whoever promoted it meanwhile has clients on it.
	if _, err := r.At(ctx, in); fail.Is(err, fail.Conflict) {
		return err
	}

	if len(host.Stop) == 0 {
		return srv.Stop(ctx)
	}

	if err := proc.Command(ctx, opHalt, in.String(), host.Stop); err != nil {
		return err
	}

	for end := time.Now().Add(goneWithin); srv.Alive(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) || ctx.Err() != nil {
			return fail.New(fail.Unverified, opHalt, in.String(), "correct the command that stops it", fmt.Errorf("the command has ended, and process %d runs", srv.Pid))
		}
	}

	return postmaster.Gone(ctx, st.Dir)
}

// handedOn reports whether a file of the standby's directory is of its configuration.
func handedOn(name string) bool {
	switch filepath.Ext(name) {
	case ".conf", ".crt", ".key", ".pem", ".crl":
		return true
	}

	return false
}

// Settle implements handover.Replacer. The standby's own configuration is that of this host;
// the one that came with the base is another server's.
func (Replacer) Settle(ctx context.Context, in targets.Instance, st handover.Standing, at handover.Place, _ targets.Artifact) error {
	files, err := os.ReadDir(at.Kept)
	if err != nil {
		return fail.FromOS(opSettle, at.Kept, err)
	}

	for _, f := range files {
		from, to := filepath.Join(at.Kept, f.Name()), filepath.Join(at.Dir, f.Name())

		switch {
		case f.IsDir() && f.Name() == "conf.d":
			err = os.RemoveAll(to)
			if err == nil {
				err = os.CopyFS(to, os.DirFS(from))
			}
		case handedOn(f.Name()):
			err = replaceFile(from, to)
		}

		if err != nil {
			return fail.FromOS(opSettle, to, err)
		}
	}

	// What made the standby one is not handed on.
	for _, name := range []string{"standby.signal", "recovery.signal"} {
		if err := os.Remove(filepath.Join(at.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fail.FromOS(opSettle, at.Dir, err)
		}
	}

	if st.Program != "" {
		if err := postmaster.WriteCommand(at.Dir, append([]string{st.Program}, moved(st.Args, st.Dir, at.Dir)...)); err != nil {
			return err
		}
	}

	if err := own(at.Dir, st); err != nil {
		return fail.FromOS(opSettle, at.Dir, err)
	}

	return understood(ctx, in, st, at)
}

// replaceFile copies a file, or what a link leads to; the owner comes after.
func replaceFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}

	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}

	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}

	return os.WriteFile(to, b, info.Mode().Perm())
}

// moved are arguments with the directory that they name replaced.
func moved(args []string, from, to string) (out []string) {
	for _, a := range args {
		if filepath.Clean(a) == from {
			a = to
		}
		out = append(out, strings.ReplaceAll(a, "data_directory="+from, "data_directory="+to))
	}

	return out
}

// own gives the directory to whom the standby's belonged to.
func own(dir string, st handover.Standing) error {
	if os.Geteuid() != 0 {
		return nil
	}

	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}

		return os.Lchown(path, st.UID, st.GID)
	})
}

// understood has the server's program read the configuration.
func understood(ctx context.Context, in targets.Instance, st handover.Standing, at handover.Place) error {
	if st.Program == "" {
		return nil
	}

	c := exec.CommandContext(ctx, st.Program, append([]string{"-C", "data_directory"}, moved(st.Args, st.Dir, at.Dir)...)...)
	c.Dir, c.Env = at.Dir, []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "HOME=" + at.Dir}

	if os.Geteuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(st.UID), Gid: uint32(st.GID)}}
	}

	out, err := c.CombinedOutput()
	if err != nil {
		return fail.New(fail.Unverified, opSettle, in.String(), "mend the configuration in "+at.Dir+" (the standby's is in "+at.Kept+"), and try again",
			fmt.Errorf("its server would not start: %w: %.500s", err, strings.TrimSpace(string(out))))
	}

	return nil
}

// Unsettle implements handover.Replacer: nothing outside of the place was changed.
func (Replacer) Unsettle(handover.Standing, handover.Place) error { return nil }

// Return implements handover.Replacer.
func (Replacer) Return(ctx context.Context, in targets.Instance, st handover.Standing, host handover.HostCommands) error {
	return start(ctx, in, st.Dir, host)
}

// Wake implements handover.Replacer.
func (Replacer) Wake(ctx context.Context, in targets.Instance, _ handover.Standing, at handover.Place, host handover.HostCommands) error {
	return start(ctx, in, at.Dir, host)
}

func start(ctx context.Context, in targets.Instance, dir string, host handover.HostCommands) error {
	if len(host.Start) > 0 {
		if err := proc.Command(ctx, opWake, in.String(), host.Start); err != nil {
			return err
		}
	}

	if _, err := postmaster.Start(ctx, dir); err != nil {
		return fail.New(fail.CodeOf(err), opWake, in.String(), "see the server's log", fmt.Errorf("it did not start: %w", err))
	}

	return nil
}
