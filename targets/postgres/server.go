package postgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"drctl/internal/fail"
	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/postgres/control"
	"drctl/targets/postgres/localwal"
	"drctl/targets/postgres/ownconf"
	"drctl/targets/postgres/timelines"
	"drctl/targets/postgres/wal"
)

const (
	// sandboxUser is the superuser that a sandbox gets.
	sandboxUser = "drctl_sandbox"
	// maxSocketPath is what fits into a socket address, less the file's name.
	maxSocketPath = 107 - len("/.s.PGSQL.65535")
)

// neededDirs exist in every data directory, but a base leaves them out or empty.
var neededDirs = []string{"pg_wal", "pg_wal/archive_status", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp",
	"pg_subtrans", "pg_stat", "pg_logical", "pg_logical/snapshots", "pg_logical/mappings", "pg_twophase", "pg_commit_ts", "pg_tblspc", "pg_multixact/members", "pg_multixact/offsets"}

// prepareDir makes the laid-down files a data directory that recovers to the
// point under our own settings.
func (r *restoreRun) prepareDir(_ context.Context) error {
	// What must not come from the base, nor from the directory's past: another
	// server's log and slots, an order to be a standby.
	for _, name := range emptied {
		if err := os.RemoveAll(filepath.Join(r.dir, name)); err != nil {
			return fail.FromOS(opRestore, r.dir, err)
		}
	}

	for _, name := range []string{"standby.signal", "postmaster.pid", "postmaster.opts", "backup_label.old", "tablespace_map.old"} {
		if err := os.Remove(filepath.Join(r.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fail.FromOS(opRestore, r.dir, err)
		}
	}

	for _, name := range neededDirs {
		if err := os.MkdirAll(filepath.Join(r.dir, name), 0o700); err != nil {
			return fail.FromOS(opRestore, r.dir, err)
		}
	}

	if err := ownconf.Keep(r.dir); err != nil {
		return err
	}

	files := map[string]string{"postgresql.conf": r.recoveryConf(), "postgresql.auto.conf": "", "pg_ident.conf": "", "recovery.signal": "", "pg_hba.conf": ""}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600); err != nil {
			return fail.FromOS(opRestore, r.dir, err)
		}
	}

	if err := os.Chmod(r.dir, 0o700); err != nil {
		return fail.FromOS(opRestore, r.dir, err)
	}

	if len(r.socketDir()) > maxSocketPath {
		return r.refuse(fail.Invalid, "choose a work directory with a shorter name", "the socket in %s would have too long a name", r.socketDir())
	}

	if err := r.mkdir(r.socketDir()); err != nil {
		return err
	}

	if err := r.linkSpaces(); err != nil {
		return err
	}

	return r.tools.RunAs.Own(r.dir)
}

func (r *restoreRun) socketDir() string { return filepath.Join(r.work, "socket") }
func (r *restoreRun) logFile() string   { return filepath.Join(r.work, "postgres.log") }

// checkVersion compares the major version of the programs with the base's.
func (r *restoreRun) checkVersion(ctx context.Context) error {
	r.major, _ = strconv.Atoi(r.req.Base.Settings["server_version_num"])
	r.major /= 10000

	return fits(ctx, r.tools, r.req.Base)
}

// recover starts the server, waits until it has reached the point, proves it
// and leaves it as the role asks.
func (r *restoreRun) recover(ctx context.Context) (err error) {
	var proc servers.Server

	err = r.phase("replay", func() (err error) {
		proc, err = r.replay(ctx)
		if r.req.Until.IsZero() || !errors.Is(err, errNotReached) {
			return err
		}

		if r.req.Point.RestorePoint == "" {
			return r.notCovered(err)
		}
		// Nothing was committed after the instant up to a cut that was taken
		// after it: the state at the cut is the state at the instant.
		r.atCut = true
		if err := r.writeFile(filepath.Join(r.dir, "postgresql.conf"), []byte(r.recoveryConf())); err != nil {
			return err
		}
		proc, err = r.replay(ctx)

		return err
	})
	if err != nil {
		return err
	}

	if err = r.phase("prove", r.prove); err == nil {
		err = r.placeSpaces()
	}

	r.out.Bytes = r.req.Base.Bytes
	for _, s := range r.req.Path {
		r.out.Bytes += int64(s.To - s.From)
	}

	if err == nil && r.in.Role == targets.Sandbox {
		proc, err = r.open(ctx, proc)
	}

	if err == nil {
		err = r.phase("resolve", func() error { return r.resolve(ctx) })
	}

	if err == nil {
		err = r.phase("survey", func() error { return r.survey(ctx) })
	}

	if err != nil {
		return errors.Join(err, stopProc(ctx, proc))
	}

	if r.in.Role == targets.Sandbox {
		return nil
	}

	return r.phase("stop", func() error {
		if err := stopProc(ctx, proc); err != nil {
			return err
		}

		return r.restoreConfig(ctx)
	})
}

// replay starts the server and waits for the end of recovery; a server that
// does not get there is stopped.
func (r *restoreRun) replay(ctx context.Context) (servers.Server, error) {
	proc, err := r.start(ctx)
	if err != nil {
		return proc, err
	}

	if err := r.await(ctx, proc); err != nil {
		return proc, errors.Join(err, stopProc(ctx, proc))
	}

	return proc, nil
}

func stopProc(ctx context.Context, proc servers.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()

	return proc.Stop(ctx)
}

// start starts the server and records it with the claim, so that a repeat may
// stop it. One that ends at once has said why in its log.
func (r *restoreRun) start(ctx context.Context) (servers.Server, error) {
	// A log of an attempt before would be taken for this one's.
	if err := os.Remove(r.logFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return servers.Server{}, fail.FromOS(opRestore, r.logFile(), err)
	}

	proc, err := r.tools.StartPostgres(ctx, servers.PostgresSpec{Name: "restore of " + r.in.Shard.String(), Dir: r.dir, Port: r.port, NoWait: true,
		SocketDir: r.socketDir(), LogFile: r.logFile(), HBA: recoveryHBA, Detached: r.d.detached && r.in.Role == targets.Sandbox})
	if err != nil {
		return proc, err
	}

	if err := r.claim.Started(proc); err != nil {
		return proc, errors.Join(err, stopProc(ctx, proc))
	}

	return proc, nil
}

// recoveryHBA admits whoever reaches the socket, whose directory only the
// server's user can enter, and one login with a password over loopback.
var recoveryHBA = []string{"local all all trust", "host all " + sandboxUser + " 127.0.0.1/32 scram-sha-256"}

var errNotReached = errors.New("the log ends before the point")

var (
	// stoppedBefore is what the server says when it stops at an instant.
	stoppedBefore = regexp.MustCompile(`recovery stopping before (commit|abort)`)
	// These two it says at the end of a log, whatever the target was.
	redoDone   = regexp.MustCompile(`redo done at ([0-9A-F]+/[0-9A-F]+)`)
	lastCommit = regexp.MustCompile(`last completed transaction was at log time (\S+ \S+)`)
)

// notCovered is the error of a replay that came to the end of the log without
// meeting a commit later than the instant: whether there were others before it
// is not known. A log that ended early is a matter of damage instead.
func (r *restoreRun) notCovered(err error) error {
	log := readTail(r.logFile(), 1<<20)

	last := r.req.Path[len(r.req.Path)-1]
	if m := redoDone.FindStringSubmatch(log); m != nil {
		if at, perr := targets.ParseLSN(m[1]); perr != nil || last.To > at+r.segSize {
			return err
		}
	}

	newest := "it holds no commit at all"
	if m := lastCommit.FindStringSubmatch(log); m != nil {
		newest = "its newest is of " + m[1]
	}

	return fail.New(fail.NotFound, opRestore, r.in.String(), "choose an instant before that, or a named cut (drctl cut list)",
		fmt.Errorf("the archived log (%s up to %s) holds no commit later than %s, so what was committed by then may be missing: %s",
			last.Timeline, targets.FormatLSN(last.To), r.req.Until.UTC().Format(time.RFC3339Nano), newest))
}

// await waits for the end of recovery, reporting the log replayed.
func (r *restoreRun) await(ctx context.Context, proc servers.Server) error {
	total := int64(0)
	for _, s := range r.req.Path {
		total += int64(s.To - s.From)
	}

	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()

	for n := 0; ; n++ {
		if serverStatus(r.dir, proc.Pid) == "ready" {
			return nil
		}

		if !proc.Alive() {
			return r.explain()
		}

		if n%10 == 0 {
			r.req.Progress.Report("replay", r.replayed(total), total)
		}

		select {
		case <-ctx.Done():
			return fail.New(fail.CodeOf(ctx.Err()), opRestore, r.in.String(), "", ctx.Err())
		case <-tick.C:
		}
	}
}

// serverStatus is what the postmaster says of itself in postmaster.pid:
// starting, standby, ready, stopping, or "".
func serverStatus(dir string, pid int) string {
	b, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return ""
	}

	lines := strings.Split(string(b), "\n")
	if len(lines) < 8 || strings.TrimSpace(lines[0]) != strconv.Itoa(pid) {
		return ""
	}

	return strings.TrimSpace(lines[7])
}

// replayed estimates the bytes replayed from the last segment that the server
// asked for.
func (r *restoreRun) replayed(total int64) int64 {
	log := readTail(r.logFile(), 64<<10)

	i := strings.LastIndex(log, `restored log file "`)
	if i < 0 {
		return 0
	}

	name, _, ok := strings.Cut(log[i+len(`restored log file "`):], `"`)
	if !ok || len(name) != 24 {
		return 0
	}
	hi, err1 := strconv.ParseUint(name[8:16], 16, 32)
	lo, err2 := strconv.ParseUint(name[16:], 16, 32)

	at := hi<<32 + lo*r.segSize
	if err1 != nil || err2 != nil || at < r.req.Base.From.Offset {
		return 0
	}

	return min(int64(at-r.req.Base.From.Offset), total)
}

func readTail(path string, n int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()

	if st, err := f.Stat(); err == nil && st.Size() > n {
		_, _ = f.Seek(-n, 2)
	}
	b := make([]byte, n)
	got, _ := f.Read(b)

	return string(b[:got])
}

// fullVolume names the volume of the restore that has no room for one more
// segment of log; "" when there is none.
func (r *restoreRun) fullVolume() string {
	for _, dir := range []string{r.dir, r.work} {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			continue
		}

		if free := st.Bavail * uint64(st.Bsize); free < r.segSize {
			return fmt.Sprintf("%d bytes are left at %s", free, dir)
		}
	}

	return ""
}

// explain says why the server ended during recovery.
func (r *restoreRun) explain() error {
	log := readTail(r.logFile(), 64<<10)
	last := r.req.Path[len(r.req.Path)-1]

	span := fmt.Sprintf("stream %s from %s to %s", last.Timeline, targets.FormatLSN(max(r.req.Base.From.Offset, last.From)), targets.FormatLSN(last.To))
	if full := r.fullVolume(); full != "" {
		// The server's log is on a volume that is full, too: it may not say so, and
		// a segment that could not be copied looks like the end of the log to it.
		return r.refuse(fail.Exhausted, "free space or restore elsewhere", "No space left on device: %s; the server's last words: %s", full, logLine(log, `No space left|could not|FATAL|PANIC`))
	}

	if strings.Contains(log, "recovery ended before configured recovery target was reached") {
		why := logLine(log, `invalid|incorrect|unexpected|could not|mismatch|out of sequence|record with`)

		return fail.New(fail.Corrupt, opRestore, r.in.String(), "verify the vault; another vault or another base may do",
			fmt.Errorf("%w %s %s (%s): the server stopped reading: %s", errNotReached, r.req.Point.RestorePoint, r.req.Until.Format(time.RFC3339), span, why))
	}

	if strings.Contains(log, "No space left on device") {
		return r.refuse(fail.Exhausted, "free space or restore elsewhere", "the disk is full: %s", lastWith(log, "No space left on device"))
	}

	if strings.Contains(log, "could not bind") {
		return r.refuse(fail.Conflict, "try again", "port %d was taken", r.port)
	}
	code, hint := endOf(log)

	return r.refuse(code, hint, "the server ended during recovery (%s): %s", span, lastWords(log))
}

var (
	damaged = regexp.MustCompile(`invalid checkpoint record|could not locate|WAL ends before|PANIC|invalid page`)
	// passing are ends that are of the host and the moment.
	passing = regexp.MustCompile(`Cannot allocate memory|could not fork|out of memory|could not create (shared memory|semaphores)|too many open files|` +
		`was terminated by signal|received (fast|immediate|smart) shutdown|terminating connection|the database system is shutting down`)
	fatal = regexp.MustCompile(`(FATAL|PANIC): `)
)

// endOf judges a server that ended during recovery by its log. Only what may be
// otherwise the next time is worth another try: a configuration that the server
// refuses, or a limit that the log goes past, stays.
func endOf(log string) (fail.Code, string) {
	switch {
	case damaged.MatchString(log):
		return fail.Corrupt, "verify the vault; another vault or another base may do"
	case passing.MatchString(log) || !fatal.MatchString(log):
		return fail.Unavailable, "look at the memory and the limits of this host"
	}

	return fail.Unsupported, "trying again does not help: see what the server says"
}

// lastWords are the lines of a server's log around its first fatal one, because
// the log itself goes with the sandbox. Of its configuration the server
// complains before that.
func lastWords(log string) string {
	const before, most = 3, 8

	lines := strings.Split(strings.TrimSpace(log), "\n")
	if i := slices.IndexFunc(lines, fatal.MatchString); i >= 0 {
		lines = lines[max(0, i-before):min(len(lines), i+most)]
	} else {
		lines = lines[max(0, len(lines)-most):]
	}

	return strings.Join(lines, "\n")
}

// logLine returns the last line of a log that matches, else the last line.
func logLine(log, pattern string) string {
	re := regexp.MustCompile(pattern)

	lines := strings.Split(strings.TrimSpace(log), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if re.MatchString(lines[i]) && !strings.Contains(lines[i], "before configured recovery target") && !strings.Contains(lines[i], "cp: ") {
			return lines[i]
		}
	}

	return lines[len(lines)-1]
}

// lastWith returns the last line of a log that holds the text; the programs
// that the server starts write there too.
func lastWith(log, text string) string {
	lines := strings.Split(log, "\n")
	for _, l := range slices.Backward(lines) {
		if strings.Contains(l, text) {
			return strings.TrimSpace(l)
		}
	}

	return ""
}

// prove reads how far the server replayed, and compares with the point. It asks
// no session for it, which the database itself could refuse: the server has
// written where and why it stopped into the history file of its new timeline.
func (r *restoreRun) prove() error {
	_, sys, err := control.Read(r.dir)
	if err != nil || sys != r.systemID {
		return r.refuse(fail.Internal, "", "the restored server is of cluster %q, not %s: %v", sys, r.systemID, err)
	}

	at, err := r.replayEnd()
	if err != nil {
		return r.refuse(fail.Internal, "look at pg_wal in the data directory", "the restored server does not say where its replay ended: %v", err)
	}
	lsn := targets.FormatLSN(at)
	last := r.req.Path[len(r.req.Path)-1]
	r.out.Reached = targets.Position{Kind: targets.Postgres, Timeline: last.Timeline, Offset: at}

	log := readTail(r.logFile(), 1<<20)
	switch name := r.req.Point.RestorePoint; {
	case !r.req.Until.IsZero() && !r.atCut:
		// Only a later commit or abort, which the server met and did not replay,
		// shows that everything of the instant is there.
		if !stoppedBefore.MatchString(log) || at < r.req.Base.Until.Offset || at > last.To {
			return r.refuse(fail.Corrupt, "verify the vault", "replay ended at %s, and not before a commit later than %s", lsn, r.req.Until.UTC().Format(time.RFC3339Nano))
		}

		for _, s := range r.req.Path {
			if at > s.From && at <= s.To {
				r.out.Reached.Timeline = s.Timeline
				break
			}
		}
	case name != "":
		if !strings.Contains(log, fmt.Sprintf("recovery stopping at restore point %q", name)) || at != r.req.Point.Offset {
			return r.refuse(fail.Corrupt, "verify the vault", "replay ended at %s, the restore point %s is at %s", lsn, name, targets.FormatLSN(r.req.Point.Offset))
		}
		r.out.Reached.RestorePoint = name
	default:
		if !r.atPoint(at) {
			return r.refuse(fail.Corrupt, "verify the vault; another vault or another base may do", "replay ended at %s, the point is %s: %s", lsn,
				targets.FormatLSN(r.req.Point.Offset), logLine(log, `invalid|incorrect|unexpected|mismatch|out of sequence|record with|contrecord`))
		}
		r.out.Reached.Offset = r.req.Point.Offset
	}

	return nil
}

// atPoint reports whether a replay that ended at a place has come to a point
// without a name. The log that was laid out ends there, so whatever made the
// server stop reading, it is there if its last record ends where the next would begin:
// a page's header may lie between the two, or the rest of a segment that was left.
func (r *restoreRun) atPoint(at uint64) bool {
	return localwal.SamePlace(wal.LSN(at), wal.LSN(r.req.Point.Offset), r.segSize)
}

// replayEnd is where the server left the log that it replayed.
func (r *restoreRun) replayEnd() (uint64, error) {
	names, err := filepath.Glob(filepath.Join(r.dir, "pg_wal", "*.history"))
	if err != nil || len(names) == 0 {
		return 0, fmt.Errorf("it began no timeline of its own: %w", err)
	}

	content, err := os.ReadFile(slices.Max(names)) // the newest: its own
	if err != nil {
		return 0, err
	}

	h, err := timelines.Parse(content)
	if err != nil || len(h) == 0 {
		return 0, fmt.Errorf("%s: %w", slices.Max(names), err)
	}

	return h.Begin(), nil
}

// open gives a sandbox its one login with a password that exists nowhere else.
func (r *restoreRun) open(ctx context.Context, proc servers.Server) (servers.Server, error) {
	conn, err := r.superuser(ctx)
	if errors.Is(err, errNoLogin) {
		if proc, err = r.ownRole(ctx, proc); err == nil {
			conn, err = r.superuser(ctx)
		}
	}

	if err != nil {
		return proc, err
	}

	defer closeConn(conn)
	var raw [24]byte
	_, _ = rand.Read(raw[:]) // never fails
	password := hex.EncodeToString(raw[:])
	// No statement with the password in it reaches the server's log.
	sql := "SET log_statement = none; SET log_min_error_statement = panic; SET password_encryption = 'scram-sha-256'; "
	if r.made == "" {
		sql += "DROP ROLE IF EXISTS " + sandboxUser + "; CREATE ROLE " + sandboxUser + " SUPERUSER LOGIN; "
	}

	sql += "ALTER ROLE " + sandboxUser + " PASSWORD " + quoteLiteral(password)
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return proc, queryError(opRestore, r.in, "", err)
	}
	r.made = sandboxUser

	path := filepath.Join(r.work, "password")
	if err := os.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		return proc, fail.FromOS(opRestore, path, err)
	}
	r.out.Pid, r.out.Address = proc.Pid, fmt.Sprintf("127.0.0.1:%d", r.port)
	r.out.User, r.out.Password, r.out.Database = sandboxUser, targets.NewSecret(password), cmp.Or(r.in.Database, r.req.Base.Settings[settingDatabase])

	return proc, nil
}
