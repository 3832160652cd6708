package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/claim"
	"drctl/internal/servers"
	"drctl/targets"
)

const opRestore = "redis: restore"

// PasswordFile is where a restore into a sandbox keeps the password that it
// made up, when the instance named none. Readable by the owner only.
const PasswordFile = "drctl.password"

const logName = "redis.log"

// Restore lays the image and the stream up to the point down as an append-only
// file of several parts. A real server loads it with aof-load-truncated off:
// whatever is not whole stops it.
//
// A sandbox is left running. For any other instance the server is stopped again,
// and the directory is left in the form that the source's own configuration
// reads; Outcome.Findings say how it is started.
//
// With Until the stream is cut after the last whole command or transaction before
// the point, which Reached then names. Without it the point itself must be such a
// place.
func (d *Driver) Restore(ctx context.Context, in targets.Instance, req targets.RestoreRequest, from targets.Source) (targets.Outcome, error) {
	out := targets.Outcome{Phases: map[string]time.Duration{}}

	path, err := restorePath(req)
	if err != nil {
		return out, err
	}

	held, err := refuse(ctx, in, req)
	if err != nil {
		return out, err
	}

	hold, err := resumeOrClaim(in, req, held)
	if err != nil {
		return out, err
	}
	phase := func(name string, f func() error) error {
		start := time.Now()
		err := f()
		out.Phases[name] = time.Since(start)

		return err
	}

	l := &layout{dir: filepath.Join(in.DataDir, aofDir), tools: d.tools}
	if err := phase("base", func() error { return l.writeBase(ctx, req, from) }); err != nil {
		return out, d.clean(in, hold, l, err)
	}

	if err := phase("stream", func() error { return l.writeStream(ctx, req, path, from) }); err != nil {
		return out, d.clean(in, hold, l, err)
	}

	if err := phase("manifest", l.finish); err != nil {
		return out, d.clean(in, hold, l, err)
	}
	out.Bytes = l.baseBytes + int64(l.streamBytes)

	out.Reached = l.reached
	if err := phase("load", func() error { return d.load(ctx, in, req, l, &out) }); err != nil {
		if ctx.Err() == nil { // what is left to be looked at is not for a repeat to remove
			err = errors.Join(err, hold.End())
		}

		return out, err
	}

	return out, hold.End()
}

// restorePath checks that the spans lead from the base to the point.
func restorePath(req targets.RestoreRequest) ([]targets.Span, error) {
	b, p := req.Base.From, req.Point
	if req.Base.Kind != targets.Redis || b.Timeline == "" || p.Timeline == "" {
		return nil, fail.Newf(fail.Invalid, opRestore, req.Base.ID, "the base and the point must name a replication id")
	}

	path := req.Path
	if len(path) == 0 && b.Timeline == p.Timeline && p.Offset > b.Offset {
		path = []targets.Span{{Timeline: b.Timeline, From: b.Offset, To: p.Offset}}
	}

	at := b.Offset
	for _, s := range path {
		if s.From != at || s.To < s.From {
			return nil, fail.Newf(fail.Invalid, opRestore, req.Base.ID, "the path has [%d,%d) of %s where %d must continue", s.From, s.To, s.Timeline, at)
		}
		at = s.To
	}

	if at != p.Offset {
		return nil, fail.Newf(fail.Invalid, opRestore, req.Base.ID, "the path ends at %d, the point is at %d", at, p.Offset)
	}

	return path, nil
}

// refuse fails when anything is in the way. It returns the claim of a restore
// that broke off in the directory, if it is under one.
func refuse(ctx context.Context, in targets.Instance, req targets.RestoreRequest) (held claim.Claim, err error) {
	if in.DataDir == "" {
		return held, fail.New(fail.Invalid, opRestore, in.String(), "name the data directory that this worker can write", errors.New("no data directory"))
	}

	if in.Address != "" {
		nd := net.Dialer{Timeout: 2 * time.Second}
		if c, err := nd.DialContext(ctx, "tcp", in.Address); err == nil {
			_ = c.Close()
			return held, fail.New(fail.Conflict, opRestore, in.String(), "stop the server, or restore elsewhere", errors.New("something answers at the address"))
		}
	}

	empty, err := claim.Empty(in.DataDir)
	if err != nil {
		return held, fail.FromOS(opRestore, in.DataDir, err)
	}

	if empty {
		return held, nil
	}

	if ps := servers.In(in.DataDir); len(ps) > 0 {
		return held, fail.New(fail.Conflict, opRestore, in.DataDir, "stop it first", fmt.Errorf("a server (pid %d) runs there", ps[0].Pid))
	}

	why := "not empty"
	if req.WorkDir != "" {
		c, found, ok, err := claim.Read(filepath.Join(req.WorkDir, recordName), in.DataDir)
		if err != nil || ok {
			return c, err
		}

		if found {
			why = "not what the restore that broke off left there, and not empty"
		}
	}

	hint := "empty it, or restore elsewhere"
	if req.Delta {
		hint = "empty it: there is no delta restore of Redis, its files change as a whole"
	}

	return held, fail.New(fail.Conflict, opRestore, in.DataDir, hint, errors.New(why))
}

// recordName is the file in the work directory that holds the claim.
const recordName = "restoring-redis"

// resumeOrClaim claims the directory; one that is under a claim is emptied. Without a
// work directory there is no claim, and only an empty directory will do.
func resumeOrClaim(in targets.Instance, req targets.RestoreRequest, held claim.Claim) (claim.Claim, error) {
	if req.WorkDir == "" {
		return claim.Claim{}, nil
	}

	if held.Token == "" {
		if err := errors.Join(os.MkdirAll(req.WorkDir, 0o755), os.MkdirAll(in.DataDir, 0o700)); err != nil {
			return held, fail.FromOS(opRestore, in.DataDir, err)
		}

		return claim.New(filepath.Join(req.WorkDir, recordName), in.DataDir)
	}

	es, err := os.ReadDir(in.DataDir)
	if err != nil {
		return held, fail.FromOS(opRestore, in.DataDir, err)
	}

	for _, e := range es {
		if e.Name() == targets.ClaimFile {
			continue
		}

		if err := os.RemoveAll(filepath.Join(in.DataDir, e.Name())); err != nil {
			return held, fail.FromOS(opRestore, in.DataDir, err)
		}
	}

	return held, nil
}

// clean removes what a failed restore laid down, so that a repeat works.
func (d *Driver) clean(in targets.Instance, hold claim.Claim, l *layout, err error) error {
	if e := os.RemoveAll(l.dir); e != nil {
		err = errors.Join(err, fail.New(fail.Denied, opRestore, l.dir, "remove it by hand before the next try", e))
	} else {
		err = errors.Join(err, hold.End())
	}

	return wrap(opRestore, in, err)
}

// load lets a server read the files and proves that it read them all.
func (d *Driver) load(ctx context.Context, in targets.Instance, req targets.RestoreRequest, l *layout, out *targets.Outcome) error {
	password, port := in.Password, 0
	src := sourceOf(req.Base)

	keep := in.Role == targets.Sandbox
	if keep {
		if _, p, err := net.SplitHostPort(in.Address); err == nil {
			port, _ = strconv.Atoi(p)
		}
	}

	if password.IsZero() {
		var b [24]byte
		_, _ = rand.Read(b[:]) // never fails

		password = targets.NewSecret(hex.EncodeToString(b[:]))
		if keep {
			if err := l.write(filepath.Join(in.DataDir, PasswordFile), []byte(password.Reveal())); err != nil {
				return err
			}
		}
	}

	settings := map[string]string{
		"appendonly": "yes", "appenddirname": aofDir, "appendfilename": strconv.Quote(aofName),
		"aof-load-truncated": "no", "aof-use-rdb-preamble": "yes", "auto-aof-rewrite-percentage": "0", "save": "", "dbfilename": src.dbFile,
		"databases": "1024", // the source may have more than the default of 16
	}
	for name, to := range src.renames {
		settings["rename-command "+name] = to // as the stream has it
	}

	maps.Copy(settings, d.extra)
	req.Progress.Report("load", 0, 0)

	proc, err := d.tools.StartRedis(ctx, servers.RedisSpec{
		Name: "redis " + in.Shard.String(), Dir: in.DataDir, Port: port, Password: password, Detached: keep && d.detached,
		LogFile: filepath.Join(in.DataDir, logName), Wait: 6 * time.Hour, // loading is bounded by ctx
		Settings: settings,
	})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}

		return fail.New(fail.Corrupt, opRestore, in.String(), "the files are left in "+in.DataDir+" to be looked at; choose another base or point", err)
	}
	out.Pid = proc.Pid
	at := in
	at.Address, at.Password, at.User, at.TLS = proc.Address, password, "", ""

	keys, err := d.loaded(ctx, at, l)
	if err != nil {
		return errors.Join(err, proc.Kill())
	}

	d.log.InfoContext(ctx, "redis restored", "instance", in.String(), "address", proc.Address, "keys", keys.Keys, "commands", l.commands, "timeline", l.reached.Timeline, "offset", l.reached.Offset)
	req.Progress.Report("keys", keys.Keys, keys.Keys)

	if keep {
		l.loaded = &keys
		if err := l.writeRecord(); err != nil {
			return errors.Join(err, proc.Kill())
		}
		out.Address, out.Password = proc.Address, password

		return nil
	}
	out.Pid = 0

	if err := d.saveImage(ctx, at, src); err != nil {
		return errors.Join(err, proc.Kill())
	}

	if err := proc.Stop(ctx); err != nil {
		return err
	}

	if err := l.arrangeFiles(src); err != nil {
		return err
	}

	for _, note := range startNotes(in, src, keys.highest, d.tools.RunAs.Owner()) {
		out.Findings = append(out.Findings, targets.Finding{Check: "before the server is started", Subject: in.String(), Severity: targets.Warned, Detail: note})
	}

	for _, name := range []string{"redis.conf", logName} {
		if err := os.Remove(filepath.Join(in.DataDir, name)); err != nil {
			return fail.FromOS(opRestore, in.DataDir, err)
		}
	}

	return nil
}

// loaded checks what the server says of its loading, and counts the keys.
func (d *Driver) loaded(ctx context.Context, in targets.Instance, l *layout) (keyCounts, error) {
	c, err := client(in, 0)
	if err != nil {
		return keyCounts{}, err
	}
	defer c.Close()

	m, err := info(ctx, c, "persistence", "keyspace")
	if err != nil {
		return keyCounts{}, wrap(opRestore, in, err)
	}

	if m["loading"] != "0" || m["aof_enabled"] != "1" {
		return keyCounts{}, fail.Newf(fail.Unverified, opRestore, in.String(), "the server did not load the append-only file (loading:%s aof_enabled:%s)", m["loading"], m["aof_enabled"])
	}
	// A server that repaired a file would have cut it.
	if err := l.notShorter(); err != nil {
		return keyCounts{}, err
	}

	return countKeys(m), nil
}

// copyTo copies with the context's end as an error.
func copyTo(ctx context.Context, w io.Writer, r io.Reader, f func(int64)) (int64, error) {
	n := int64(0)

	buf := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}

		k, err := r.Read(buf)
		if k > 0 {
			if _, werr := w.Write(buf[:k]); werr != nil {
				return n, werr
			}
			n += int64(k)
			f(n)
		}

		if err == io.EOF {
			return n, nil
		}

		if err != nil {
			return n, err
		}
	}
}
