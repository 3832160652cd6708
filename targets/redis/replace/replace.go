package replace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/targets"
	"drctl/targets/handover"
)

const (
	opLook   = "look at a replica"
	opHalt   = "stop a replica"
	opSettle = "settle a restored server"
	opWake   = "start a restored server"
	// poll is how often a server that comes or goes is looked at.
	poll = 5 * time.Millisecond
	// atOnce is within what a server that was started is there.
	atOnce = 10 * time.Second
	// backup is where the configuration of a replica is kept whose file lies elsewhere.
	backup = "drctl-replica.conf"
)

var programs = []string{"redis-server", "valkey-server"}

// Replacer implements handover.Replacer.
type Replacer struct {
	// Client makes a client of one connection that tries nothing again, and Explain turns
	// an error of a server into one of ours.
	Client  func(in targets.Instance) (*goredis.Client, error)
	Explain func(op string, in targets.Instance, err error) error
}

var _ handover.Replacer = Replacer{}

// Standing implements handover.Replacer. A server tells it of itself: it has to run.
func (r Replacer) Standing(ctx context.Context, in targets.Instance, host handover.HostCommands) (st handover.Standing, err error) {
	m, err := r.ask(ctx, opLook, in)
	if err != nil {
		return st, err
	}

	if m["role"] != "slave" {
		return st, fail.New(fail.Conflict, opLook, in.String(), "see drctl status: has the group moved already?", errors.New("it is a master"))
	}

	if st.Dir, err = filepath.EvalSymlinks(in.DataDir); err != nil {
		return st, fail.FromOS(opLook, in.DataDir, err)
	}

	if err := works(in, st.Dir, m); err != nil {
		return st, err
	}
	st.At = targets.Position{Kind: targets.Redis, Timeline: m["master_replid"]}
	_, _ = fmt.Sscan(m["slave_repl_offset"], &st.At.Offset)

	st.Durable = m["appendonly"] == "yes" || m["save"] != ""
	st.Program, st.Config = m["executable"], m["config_file"]

	if st.Config == "" {
		return st, fail.New(fail.Unsupported, opLook, in.String(), "start it with a configuration file", errors.New("it has none, so it would not come back as it is"))
	}

	if host.Start == nil && !filepath.IsAbs(st.Program) {
		return st, fail.New(fail.Unsupported, opLook, in.String(), "name start for the instance", errors.New("it does not say which program it is"))
	}

	info, err := os.Stat(st.Dir)
	if err == nil {
		st.UID, st.GID = int(info.Sys().(*syscall.Stat_t).Uid), int(info.Sys().(*syscall.Stat_t).Gid)
		_, err = os.Stat(st.Config)
	}

	return st, fail.FromOS(opLook, in.String(), err)
}

// works makes sure that the server that answers is the one whose directory is named.
func works(in targets.Instance, dir string, m map[string]string) error {
	if at, err := filepath.EvalSymlinks(m["dir"]); err == nil && at == dir && slices.ContainsFunc(proc.In(dir, programs...), func(p proc.Resident) bool { return fmt.Sprint(p.Pid) == m["process_id"] }) {
		return nil
	}

	return fail.New(fail.Invalid, opLook, in.String(), "correct data_dir, and let a worker on its host do it", fmt.Errorf("the server works in %s, and no process of it is seen in %s here", m["dir"], dir))
}

// ask reads what a server says of itself, and its settings, as one.
func (r Replacer) ask(ctx context.Context, op string, in targets.Instance) (map[string]string, error) {
	c, err := r.Client(in)
	if err != nil {
		return nil, r.Explain(op, in, err)
	}
	defer c.Close()

	m := map[string]string{}

	for _, section := range []string{"server", "replication", "persistence"} {
		text, err := c.Info(ctx, section).Result()
		if err != nil {
			return nil, r.Explain(op, in, err)
		}

		for line := range strings.Lines(text) {
			if k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
				m[k] = v
			}
		}
	}

	for _, name := range []string{"dir", "appendonly", "save", "dbfilename", "appenddirname", "appendfilename"} {
		v, err := c.ConfigGet(ctx, name).Result()
		if err != nil {
			return nil, r.Explain(op, in, err)
		}
		m[name] = v[name]
	}

	return m, nil
}

// Halt implements handover.Replacer.
func (r Replacer) Halt(ctx context.Context, in targets.Instance, st handover.Standing, host handover.HostCommands) error {
	all := proc.In(st.Dir, programs...)
	if len(all) == 0 {
		return nil
	}

	m, err := r.ask(ctx, opHalt, in)
	if err == nil && m["role"] != "slave" { // whoever promoted it meanwhile has clients on it
		return fail.New(fail.Conflict, opHalt, in.String(), "see drctl status: has the group moved already?", errors.New("it is a master"))
	}

	if err == nil && !st.Durable { // else all that it has would be gone
		if err := r.save(ctx, in); err != nil {
			return err
		}
	}

	if len(host.Stop) > 0 {
		if err := proc.Command(ctx, opHalt, in.String(), host.Stop); err != nil {
			return err
		}
	} else {
		for _, p := range all {
			if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fail.New(fail.Denied, opHalt, in.String(), "run the worker as root or as the server's user", err)
			}
		}
	}

	for len(proc.In(st.Dir, programs...)) > 0 {
		select {
		case <-ctx.Done():
			return fail.New(fail.Stalled, opHalt, in.String(), "see its log", fmt.Errorf("it was told to stop and has not ended: %w", context.Cause(ctx)))
		case <-time.After(poll):
		}
	}

	return nil
}

func (r Replacer) save(ctx context.Context, in targets.Instance) error {
	c, err := r.Client(in)
	if err != nil {
		return r.Explain(opHalt, in, err)
	}
	defer c.Close()

	return r.Explain(opHalt, in, c.WithTimeout(saveLimit).Save(ctx).Err())
}

// saveLimit bounds the writing of an image.
const saveLimit = time.Hour

// files are where the configuration of the replica is now, and where that of the new
// master is to be.
func files(st handover.Standing, at handover.Place) (from, to string, outside bool) {
	if rel, err := filepath.Rel(st.Dir, st.Config); err == nil && !strings.HasPrefix(rel, "..") {
		return filepath.Join(at.Kept, rel), filepath.Join(at.Dir, rel), false
	}

	return filepath.Join(at.Kept, backup), st.Config, true
}

// Settle implements handover.Replacer.
func (r Replacer) Settle(_ context.Context, in targets.Instance, st handover.Standing, at handover.Place, base targets.Artifact) error {
	from, to, outside := files(st, at)

	if _, err := os.Stat(from); outside && errors.Is(err, fs.ErrNotExist) {
		b, err := os.ReadFile(st.Config)
		if err == nil {
			err = atomicfile.Write(from, b, 0o600)
		}

		if err != nil {
			return fail.FromOS(opSettle, from, err)
		}
	}

	b, err := os.ReadFile(from)
	if err != nil {
		return fail.FromOS(opSettle, from, err)
	}
	set := laidDown(base)
	set["dir"] = at.Dir

	if err := writeAs(to, st.Config, from, []byte(asMaster(string(b), set))); err != nil {
		return fail.FromOS(opSettle, to, err)
	}

	if os.Geteuid() != 0 {
		return nil
	}

	return fail.FromOS(opSettle, in.String(), filepath.WalkDir(at.Dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}

		return os.Lchown(path, st.UID, st.GID)
	}))
}

// writeAs writes a file with the mode and the owner of another, the first that is there.
func writeAs(to, like, or string, content []byte) error {
	info, err := os.Stat(like)
	if err != nil {
		info, err = os.Stat(or)
	}

	if err != nil {
		return err
	}

	if err := atomicfile.Write(to, content, info.Mode().Perm()); err != nil {
		return err
	}

	if s, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		return os.Chown(to, int(s.Uid), int(s.Gid))
	}

	return nil
}

// plainWord is what a file may be called: nothing that a configuration file or a path reads as more.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// laidDown are the settings by which a server finds what a restore of a base has left: the one form
// that the source's own configuration reads.
func laidDown(base targets.Artifact) map[string]string {
	word := func(name, otherwise string) string {
		if v := base.Settings[name]; plainWord.MatchString(v) {
			return v
		}

		return otherwise
	}

	if base.Settings["appendonly"] == "no" {
		return map[string]string{"appendonly": "no", "dbfilename": word("dbfilename", "dump.rdb")}
	}

	return map[string]string{"appendonly": "yes", "appenddirname": word("appenddirname", "appendonlydir"), "appendfilename": word("appendfilename", "appendonly.aof")}
}

// asMaster is the configuration of a replica as that of a master which finds its files by
// the settings.
func asMaster(text string, set map[string]string) string {
	var out strings.Builder

	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		name = strings.ToLower(name)

		if _, ours := set[name]; ours || name == "replicaof" || name == "slaveof" {
			continue
		}

		out.WriteString(strings.TrimRight(line, "\n") + "\n")
	}

	for _, name := range slices.Sorted(maps.Keys(set)) {
		fmt.Fprintf(&out, "%s %q\n", name, set[name])
	}

	return out.String()
}

// Unsettle implements handover.Replacer.
func (Replacer) Unsettle(st handover.Standing, at handover.Place) error {
	from, to, outside := files(st, at)
	if !outside {
		return nil
	}

	b, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was changed
	}

	if err == nil {
		err = writeAs(to, st.Config, from, b)
	}

	return fail.FromOS(opSettle, to, err)
}

// Return implements handover.Replacer.
func (r Replacer) Return(ctx context.Context, in targets.Instance, st handover.Standing, host handover.HostCommands) error {
	_, err := r.up(ctx, in, st, st.Dir, st.Config, host)
	return err
}

// Wake implements handover.Replacer.
func (r Replacer) Wake(ctx context.Context, in targets.Instance, st handover.Standing, at handover.Place, host handover.HostCommands) error {
	_, config, _ := files(st, at)

	m, err := r.up(ctx, in, st, at.Dir, config, host)
	if err != nil {
		return err
	}

	return right(in, at, m, config)
}

// up starts the server of a directory, if it does not run, and waits until it has loaded
// its data. It returns what it says of itself.
func (r Replacer) up(ctx context.Context, in targets.Instance, st handover.Standing, dir, config string, host handover.HostCommands) (map[string]string, error) {
	if len(proc.In(dir, programs...)) == 0 {
		if err := start(ctx, in, st, dir, config, host); err != nil {
			return nil, err
		}
	}

	for began := time.Now(); ; {
		m, err := r.ask(ctx, opWake, in)
		if err == nil && m["loading"] == "0" {
			return m, nil
		}

		if time.Since(began) > atOnce && len(proc.In(dir, programs...)) == 0 {
			return nil, fail.New(fail.Unavailable, opWake, in.String(), "see its log", errors.New("the server ended while it started"))
		}

		select {
		case <-ctx.Done():
			return nil, fail.New(fail.Stalled, opWake, in.String(), "see its log; it may still come up", errors.Join(errors.New("it does not answer yet"), err, context.Cause(ctx)))
		case <-time.After(poll):
		}
	}
}

// start starts the server, by command or as it was started before. It outlives this process.
func start(ctx context.Context, in targets.Instance, st handover.Standing, dir, config string, host handover.HostCommands) error {
	if len(host.Start) > 0 {
		return proc.Command(ctx, opWake, in.String(), host.Start)
	}

	log, err := os.OpenFile(dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fail.FromOS(opWake, dir+".log", err)
	}
	defer log.Close()

	c := exec.Command(st.Program, config)
	c.Dir, c.Stdout, c.Stderr, c.SysProcAttr = dir, log, log, &syscall.SysProcAttr{Setsid: true}

	if os.Geteuid() == 0 {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(st.UID), Gid: uint32(st.GID)}
	}

	if err := proc.Start(c); err != nil {
		return fail.New(fail.Unavailable, opWake, in.String(), "can the owner of the directory run the program?", err)
	}

	go func() { _ = c.Wait() }()

	return nil
}

// right refuses a server that came up as something else than what was laid down.
func right(in targets.Instance, at handover.Place, m map[string]string, config string) error {
	dir, err := filepath.EvalSymlinks(m["dir"])
	if err != nil || dir != at.Dir {
		return fail.New(fail.Unverified, opWake, in.String(), "correct the command that starts it", fmt.Errorf("it works in %s, and not in %s", m["dir"], at.Dir))
	}

	b, err := os.ReadFile(config)
	if err != nil {
		return fail.FromOS(opWake, config, err)
	}

	for _, name := range []string{"appendonly", "dbfilename", "appenddirname", "appendfilename"} {
		if want := setting(string(b), name); want != "" && want != m[name] {
			return fail.New(fail.Unverified, opWake, in.String(), "start it with "+config, fmt.Errorf("it was started with %s %s, and what was laid down needs %s: it has none of the data", name, m[name], want))
		}
	}

	if m["role"] != "master" {
		return fail.New(fail.Unverified, opWake, in.String(), "start it with "+config, errors.New("it came up as a replica"))
	}

	return nil
}

// setting reads one setting of a configuration file.
func setting(text, name string) (value string) {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == name {
			value = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}

	return value
}
