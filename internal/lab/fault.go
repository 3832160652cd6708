package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"drctl/internal/fail"
	"drctl/internal/lab/lines"
	"drctl/internal/proc"
	"drctl/internal/supervise"
	"drctl/targets"
)

// Fault is a fault that can be taken away again.
type Fault struct {
	Do   string // one of Undoable
	What string
	// Way, By and Rate are those of a lines.Fault; By is also how much a clock is off.
	Way  string
	By   time.Duration
	Rate float64
}

// Undoable are the faults that Fault plants and takes away again, with what each is planted on.
var Undoable = map[string]string{
	"kill": "SERVER", "stop": "SERVER", "disks": "SERVER", "region": "REGION",
	"engine": "all", "key": "all", "vault": "REGION", "corrupt": "REGION",
	lines.Cut: "LINK", lines.Slow: "LINK", lines.Lossy: "LINK",
	clock: "SERVER",
}

const opFault = "lab: fault"

// away is what the name of something ends in that a fault has put aside.
const away = ".away"

// Fault plants a fault that can be taken away, or takes it away: kill a server; stop it; take
// its disk; take a region with its disks; kill the engine; take the
// key; take a region's vault; corrupt the newest chunk of log in it; cut a link, make it slow or lossy; step a clock.
// Taking away may be repeated, and done where nothing was planted. A killed primary is not started while the other region takes writes.
func (l *Lab) Fault(ctx context.Context, f Fault, undo bool) error {
	fault, what := f.Do, f.What

	switch fault {
	case "engine":
		if undo {
			return nil // drctl up starts it again
		}

		return l.killEngine()
	case "key":
		return aside(filepath.Join(l.dir, keyFile), undo)
	case "vault":
		return l.Fault(ctx, Fault{Do: "stop", What: what + "/media/0"}, undo)
	case "corrupt":
		return l.corrupt(what, undo)
	case lines.Cut, lines.Slow, lines.Lossy:
		return l.lineFault(ctx, f, undo)
	case clock:
		return l.stepClock(ctx, f, undo)
	}

	if Undoable[fault] == "" {
		return fail.New(fail.Invalid, opFault, fault, "use one of "+strings.Join(names(Undoable), ", "), errors.New("unknown fault"))
	}

	hit := false
	for i, s := range l.Servers() {
		// The bucket with the vault of a region is lost by vault.
		if fault == "region" && s.Region == what && s.Kind != targets.S3 || fault != "region" && s.Name == what {
			hit = true

			if err := l.faultOf(ctx, fault, i, undo); err != nil {
				return err
			}
		}
	}

	if !hit {
		return fail.Newf(fail.NotFound, opFault, what, "the lab has no such region or server; see: drlab status")
	}

	return nil
}

func names(m map[string]string) (out []string) {
	for k := range m {
		out = append(out, k)
	}

	slices.Sort(out)

	return out
}

func (l *Lab) faultOf(ctx context.Context, fault string, i int, undo bool) error {
	s := l.Servers()[i]

	if fault == "stop" {
		sig := syscall.SIGSTOP
		if undo {
			sig = syscall.SIGCONT
		}

		return l.signalAll(s, sig, undo)
	}

	if !undo {
		if err := l.breakOne("kill", i); err != nil {
			return err
		}

		if fault != "kill" {
			return aside(s.Dir, false)
		}

		return nil
	}

	if err := aside(s.Dir, true); err != nil {
		return err
	}

	if s.Proc.Alive() || l.overtaken(ctx, s) {
		return nil
	}

	if _, err := os.Stat(s.Dir); err != nil {
		return nil // its disk is lost, and nobody has made another
	}

	return l.start(ctx, i)
}

// overtaken reports whether another region takes the writes of a server that was the primary.
func (l *Lab) overtaken(ctx context.Context, s Server) bool {
	if _, err := os.Stat(filepath.Join(s.Dir, "standby.signal")); err == nil || s.Kind == targets.S3 || s.Region == "" {
		return false
	}

	in, err := l.Instance(map[string]string{East: West, West: East}[s.Region], s.Shard)
	if err != nil {
		return false
	}

	if s.Kind == targets.Redis {
		if of, known := replicaOf(s.Dir); known && of != "" {
			return false
		}
	}
	leads, err := takesWrites(ctx, in)

	return err == nil && leads
}

// all are the processes of a server.
func (l *Lab) all(s Server) (out []proc.ID) {
	dir, err := filepath.EvalSymlinks(s.Dir)
	if err == nil && s.Kind == targets.Postgres {
		for _, r := range proc.In(dir, "postgres") {
			out = append(out, r.ID)
		}
	}

	if len(out) == 0 && s.Proc.Alive() {
		out = append(out, s.Proc.ID)
	}

	return out
}

func (l *Lab) signalAll(s Server, sig syscall.Signal, mayBeGone bool) error {
	all := l.all(s)
	if len(all) == 0 && !mayBeGone {
		return fail.Newf(fail.NotFound, opFault, s.Name, "it does not run; see: drlab status")
	}

	for _, p := range all {
		if err := p.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fail.New(fail.Denied, opFault, s.Name, "run drlab as the user who started the lab", err)
		}
	}

	return nil
}

// aside moves something aside, or back. What has come in its place meanwhile stays, and what was put aside is
// removed then: it is lost, as it was meant to be.
func aside(path string, undo bool) error {
	if !undo {
		if err := os.Rename(path, path+away); err != nil {
			return fail.FromOS(opFault, path, err)
		}

		return nil
	}

	if _, err := os.Stat(path + away); errors.Is(err, fs.ErrNotExist) {
		return nil
	}

	if _, err := os.Stat(path); err == nil {
		return fail.FromOS(opFault, path, os.RemoveAll(path+away))
	}

	return fail.FromOS(opFault, path, os.Rename(path+away, path))
}

// killEngine kills the engine that drctl up runs.
func (l *Lab) killEngine() error {
	st, err := supervise.ReadState(filepath.Join(l.dir, "state"))
	if err != nil {
		return err
	}

	c, ok := st.Child("engine")
	if !ok || c.Pid == 0 {
		return fail.Newf(fail.NotFound, opFault, "engine", "drctl up runs none here")
	}

	if err := (proc.ID{Pid: c.Pid, Start: c.Start}).Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fail.New(fail.Denied, opFault, "engine", "run drlab as the user who runs drctl up", err)
	}

	return nil
}

// corrupt turns a byte of the newest chunk of log in the vault of a region, in the server's own files, or turns
// it back.
func (l *Lab) corrupt(region string, undo bool) error {
	dir := ""
	for _, s := range l.Servers() {
		if s.Kind == targets.S3 && s.Region == region {
			dir = s.Dir
		}
	}

	if dir == "" {
		return fail.Newf(fail.NotFound, opFault, region, "the lab has no such region")
	}

	note := filepath.Join(l.dir, "corrupted-"+region)

	if undo {
		b, err := os.ReadFile(note)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}

		var at int64
		var was byte

		path, rest, _ := strings.Cut(string(b), "\n")
		if _, serr := fmt.Sscan(rest, &at, &was); err != nil || serr != nil {
			return fail.New(fail.Corrupt, opFault, note, "", errors.Join(err, serr))
		}

		if err := turn(path, at, was); err != nil && !errors.Is(err, fs.ErrNotExist) { // retention may have removed it
			return err
		}

		return fail.FromOS(opFault, note, os.Remove(note))
	}

	path, err := newestChunk(dir)
	if err != nil {
		return err
	}

	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return fail.FromOS(opFault, path, errors.Join(err, errors.New("it is empty")))
	}
	at := int64(len(b) / 2)

	// Written down before it is touched: it is to be turned back.
	if err := os.WriteFile(note, fmt.Appendf(nil, "%s\n%d %d\n", path, at, b[at]), 0o600); err != nil {
		return fail.FromOS(opFault, note, err)
	}

	return turn(path, at, b[at]^0xff)
}

func turn(path string, at int64, to byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{to}, at)

	return errors.Join(err, f.Close())
}

// newestChunk is the one that was written last below a server's directory.
func newestChunk(dir string) (path string, err error) {
	var newest fs.FileInfo

	err = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.Contains(p, "/"+vaultBucket+"/") || !strings.Contains(p, "/streams/") || strings.Contains(p, "/.") {
			return err
		}

		info, err := e.Info()
		if err != nil {
			return nil // it was removed meanwhile
		}

		if newest == nil || info.ModTime().After(newest.ModTime()) {
			newest, path = info, p
		}

		return nil
	})
	if err == nil && path == "" {
		err = fail.Newf(fail.NotFound, opFault, dir, "the vault has no chunk of log yet")
	}

	return path, err
}
