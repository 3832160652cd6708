package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/claim"
	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/postgres/control"
	"drctl/targets/postgres/timelines"
)

const opRestore = "restore"

// restoreRun is one restore.
type restoreRun struct {
	d     *Driver
	in    targets.Instance
	req   targets.RestoreRequest
	from  targets.Source
	tools servers.Binaries

	dir, work string // absolute
	segSize   uint64
	major     int // of the base's server
	systemID  string
	out       targets.Outcome
	port      int
	record    string // of the claim
	claim     claim.Claim
	spaces    []newSpace
	made      string // a role that was made because no other may log in
	atCut     bool   // for an instant: the end of the log, a cut's restore point, is replayed to
}

// Restore lays a shard down and replays it to the point. See targets.Driver.
//
// A sandbox is left running, with one superuser whose password is in the
// outcome and in the file "password" of the work directory. Any other role is
// stopped again and left with its own configuration, ready to be started.
//
// A repeat after a crash takes up its own half-written directory, and stops the
// server that the restore had started there. A record in the work directory and
// a file in the data directory tell both from anybody else's, which are refused.
func (d *Driver) Restore(ctx context.Context, in targets.Instance, req targets.RestoreRequest, from targets.Source) (targets.Outcome, error) {
	r := &restoreRun{d: d, in: in, req: req, from: from, out: targets.Outcome{Phases: map[string]time.Duration{}}}
	if err := r.check(ctx); err != nil {
		return targets.Outcome{}, err
	}

	if err := r.resumeOrClaim(ctx); err != nil {
		return targets.Outcome{}, err
	}

	err := r.phase("lay down", func() error { return r.layDown(ctx) })
	if err == nil {
		err = r.phase("prepare", func() error { return r.prepareDir(ctx) })
	}

	if err == nil {
		err = r.recover(ctx)
	}

	if err != nil {
		if left := r.placeSpaces(); left != nil {
			err = errors.Join(err, left)
		}
	}

	if err != nil {
		return targets.Outcome{}, err
	}

	if err := r.claim.End(); err != nil {
		return targets.Outcome{}, err
	}

	return r.out, nil
}

func (r *restoreRun) phase(name string, f func() error) error {
	start := time.Now()

	r.req.Progress.Report(name, 0, 0)
	err := f()
	r.out.Phases[name] += time.Since(start)

	return err
}

func (r *restoreRun) refuse(code fail.Code, hint, format string, args ...any) error {
	return fail.New(code, opRestore, r.in.String(), hint, fmt.Errorf(format, args...))
}

// check refuses whatever cannot or must not be restored, before a byte is written.
func (r *restoreRun) check(ctx context.Context) (err error) {
	if r.in.DataDir == "" || r.req.WorkDir == "" {
		return r.refuse(fail.Invalid, "set data_dir of the instance", "a restore needs a data directory and a work directory")
	}

	if r.dir, err = filepath.Abs(r.in.DataDir); err == nil {
		r.work, err = filepath.Abs(r.req.WorkDir)
	}

	if err != nil || strings.ContainsAny(r.dir+r.work, "\n\r") {
		return r.refuse(fail.Invalid, "", "unusable directory name")
	}

	if r.work == r.dir || strings.HasPrefix(r.work, r.dir+"/") {
		return r.refuse(fail.Invalid, "choose a work directory beside the data directory", "the work directory is inside the data directory")
	}

	var baseTLI uint32
	if r.systemID, baseTLI, err = targets.ParsePostgresTimeline(r.req.Base.From.Timeline); err != nil || baseTLI == 0 {
		return r.refuse(fail.Corrupt, "choose another base", "the base's record has no usable timeline: %v", err)
	}

	if r.segSize, err = strconv.ParseUint(r.req.Base.Settings["wal_segment_size"], 10, 64); err != nil || r.segSize < 1<<20 || r.segSize&(r.segSize-1) != 0 {
		return r.refuse(fail.Corrupt, "choose another base", "the base's record has no usable wal_segment_size")
	}

	if err := r.checkPath(); err != nil {
		return err
	}

	if r.tools, err = r.d.findTools(); err != nil {
		return err
	}

	if err := r.checkVersion(ctx); err != nil {
		return err
	}

	if _, err := r.tools.RunAs.Credential(); err != nil {
		return err
	}

	r.record = filepath.Join(r.work, "restoring-postgres")
	if err := r.checkEmpty(); err != nil {
		return err
	}

	return r.choosePort(ctx)
}

// checkPath makes sure that the spans lead from the base to the point.
func (r *restoreRun) checkPath() error {
	base, point := r.req.Base, r.req.Point
	if len(r.req.Path) == 0 {
		return r.refuse(fail.Invalid, "", "no path from the base to the point")
	}

	first, last := r.req.Path[0], r.req.Path[len(r.req.Path)-1]
	if first.Timeline != base.From.Timeline || timelines.SegmentStart(first.From, r.segSize) > base.From.Offset {
		return r.refuse(fail.NotFound, "choose another base", "the stream begins at %s %s, the base needs it from %s %s",
			first.Timeline, targets.FormatLSN(first.From), base.From.Timeline, targets.FormatLSN(base.From.Offset))
	}

	if r.req.Until.IsZero() && (last.Timeline != point.Timeline || last.To < point.Offset) {
		return r.refuse(fail.NotFound, "wait until the stream reaches the point, or choose an older one", "the stream ends at %s %s, before the point %s %s",
			last.Timeline, targets.FormatLSN(last.To), point.Timeline, targets.FormatLSN(point.Offset))
	}

	if r.req.Until.IsZero() && point.RestorePoint == "" {
		// Nothing tells the server where to stop but the end of the log, and prove
		// compares where it stopped. With recovery_target_lsn it would want to read one
		// whole record behind the point: on an idle server there is none, and what is
		// there is no part of the cut and may not be durable yet.
		r.req.Path = slices.Clone(r.req.Path)
		r.req.Path[len(r.req.Path)-1].To = point.Offset
		last.To = point.Offset
	}

	if last.Timeline == base.Until.Timeline && last.To < base.Until.Offset {
		return r.refuse(fail.Invalid, "choose a base that ended before the point", "the base is consistent at %s only, the point is %s before it", targets.FormatLSN(base.Until.Offset), targets.FormatLSN(last.To))
	}

	for _, s := range r.req.Path {
		if sys, _, err := targets.ParsePostgresTimeline(s.Timeline); err != nil || sys != r.systemID {
			return r.refuse(fail.Invalid, "", "the path leads through %q, which is not of cluster %s", s.Timeline, r.systemID)
		}
	}

	return nil
}

// checkEmpty refuses a directory that holds anything but our own unfinished
// work, and a server that is not proved to be the one of that.
func (r *restoreRun) checkEmpty() error {
	empty, err := claim.Empty(r.dir)
	if err != nil {
		return r.refuse(fail.Denied, "give the worker access to the data directory", "%v", err)
	}

	if empty {
		return nil
	}

	claim, found, held, err := claim.Read(r.record, r.dir)
	if err != nil {
		return err
	}

	if pm, err := readPostmaster(r.dir); err == nil && processIn(pm.pid, r.dir) {
		if !held || pm.pid != claim.Server.Pid || !claim.Server.Alive() {
			return r.refuse(fail.Conflict, "stop it first; a restore never touches a running server", "a server (pid %d) runs in %s", pm.pid, r.dir)
		}
	}
	// Every start of a server leaves its command line there; ours names our socket.
	if opts, err := os.ReadFile(filepath.Join(r.dir, "postmaster.opts")); err == nil && !strings.Contains(string(opts), r.socketDir()) {
		held = false
	}

	if held {
		r.claim = claim
		return nil
	}

	if !r.req.Delta {
		what := "is not empty"
		if found {
			what = "is not what the restore that broke off left there, and not empty"
		}

		return r.refuse(fail.Conflict, "empty or move the directory, or ask for a delta restore", "%s %s", r.dir, what)
	}

	_, sys, err := control.Read(r.dir)
	if err != nil {
		return r.refuse(fail.Conflict, "a delta restore needs a data directory of the same cluster", "%s: %v", r.dir, err)
	}

	if sys != r.systemID {
		return r.refuse(fail.Conflict, "a delta restore needs a data directory of the same cluster", "%s holds cluster %s, the base is of cluster %s", r.dir, sys, r.systemID)
	}

	return nil
}

// processIn reports whether the process works in the directory, as a
// postmaster does, so that a reused pid is not mistaken for it.
func processIn(pid int, dir string) bool {
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		// Somebody else's process that cannot be looked into may be the server.
		return !errors.Is(err, fs.ErrNotExist)
	}
	real, err := filepath.EvalSymlinks(dir)

	return err != nil || cwd == real
}

// choosePort takes the instance's port, or a free one for a sandbox, and
// refuses when something answers there.
func (r *restoreRun) choosePort(ctx context.Context) error {
	if _, port, err := splitAddress(r.in.Address); err == nil && port != 0 && !strings.HasPrefix(r.in.Address, "/") {
		dctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()

		var nd net.Dialer
		if c, err := nd.DialContext(dctx, "tcp", r.in.Address); err == nil && r.claim.Server.Address == r.in.Address && r.claim.Server.Alive() {
			_ = c.Close() // our own server, which is stopped
		} else if err == nil {
			_ = c.Close()
			return r.refuse(fail.Conflict, "stop it first; a restore never touches a running server", "something answers at %s", r.in.Address)
		}

		if r.in.Role == targets.Sandbox {
			r.port = int(port)
			return nil
		}
	}

	port, err := r.tools.FreePort()
	if err != nil {
		return err
	}
	r.port = port

	return nil
}

// resumeOrClaim claims the directory, or goes on with the claim that it is under: its
// server is stopped. Nothing has been touched before.
func (r *restoreRun) resumeOrClaim(ctx context.Context) (err error) {
	if err := os.MkdirAll(r.work, 0o755); err != nil {
		return fail.FromOS(opRestore, r.work, err)
	}

	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return fail.FromOS(opRestore, r.dir, err)
	}

	if r.claim.Token != "" {
		return r.claim.Server.Stop(ctx)
	}
	r.claim, err = claim.New(r.record, r.dir)

	return err
}
