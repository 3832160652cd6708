package servers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/targets"
)

// PostgresSpec describes a PostgreSQL server.
type PostgresSpec struct {
	Name      string // for messages
	Dir       string // data directory
	Port      int    // 0: a free one
	SocketDir string // "": none
	// Settings override postgresql.conf; they are visible in the process list.
	Settings map[string]string
	Env      []string // more of the environment
	// HBA replaces pg_hba.conf unless empty.
	HBA []string
	// User and Password are the superuser of a new cluster (InitPostgres).
	User     string
	Password targets.Secret
	LogFile  string        // "": Dir + ".log"
	Wait     time.Duration // for readiness; 0: a minute
	NoWait   bool          // return as soon as the process runs
	Detached bool          // outlive this process
	NoSync   bool          // initdb without fsync: tests only
	// SegmentSize of a new cluster's log, in bytes; 0: what the server takes (16 MB).
	SegmentSize uint64
}

func (s PostgresSpec) name() string {
	if s.Name != "" {
		return s.Name
	}

	return "postgres " + s.Dir
}

// Run runs a PostgreSQL program (pg_checksums, pg_amcheck ...) to its end as
// the servers' user and returns what it printed. Passwords go through env.
func (b Binaries) Run(ctx context.Context, env []string, program string, args ...string) ([]byte, error) {
	path, err := b.PG(program)
	if err != nil {
		return nil, err
	}

	cred, err := b.RunAs.Credential()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}

	out, err := cmd.CombinedOutput()
	if err != nil {
		text := strings.TrimSpace(string(out))

		code := fail.Unavailable
		switch {
		case ctx.Err() != nil:
			return out, ctx.Err()
		case strings.Contains(text, "No space left"):
			code = fail.Exhausted
		case strings.Contains(text, "exists but is not empty"):
			code = fail.Conflict
		}

		return out, fail.New(code, "run "+program, strings.Join(args, " "), "", fmt.Errorf("%w: %s", err, text))
	}

	return out, nil
}

// InitPostgres makes a new cluster with page checksums.
func (b Binaries) InitPostgres(ctx context.Context, s PostgresSpec) error {
	if err := b.RunAs.Mkdir(s.Dir, 0o700); err != nil {
		return err
	}

	pw := s.Dir + ".pw"
	if err := b.RunAs.WriteFile(pw, s.Password.Reveal()+"\n"); err != nil {
		return err
	}
	defer os.Remove(pw)

	args := []string{"-D", s.Dir, "-U", s.User, "--pwfile", pw, "-A", "scram-sha-256", "-k", "-E", "UTF8", "--locale", "C"}
	if s.NoSync {
		args = append(args, "-N")
	}

	if s.SegmentSize != 0 {
		args = append(args, "--wal-segsize", strconv.FormatUint(s.SegmentSize>>20, 10))
	}
	_, err := b.Run(ctx, nil, "initdb", args...)

	return err
}

// BaseBackup makes Dir a streaming standby of a running primary, through a
// slot that it makes when slot is not empty.
func (b Binaries) BaseBackup(ctx context.Context, from targets.Instance, s PostgresSpec, slot string) error {
	if err := b.RunAs.Mkdir(s.Dir, 0o700); err != nil {
		return err
	}
	host, port, _ := strings.Cut(from.Address, ":")

	args := []string{"-D", s.Dir, "-h", host, "-p", port, "-U", from.User, "-X", "stream", "-c", "fast", "-R", "-w"}
	if slot != "" {
		args = append(args, "-C", "-S", slot)
	}

	if s.NoSync {
		args = append(args, "-N")
	}
	_, err := b.Run(ctx, []string{"PGPASSWORD=" + from.Password.Reveal()}, "pg_basebackup", args...)

	return err
}

// StartPostgres starts a server and waits until it accepts connections, or is
// a standby in recovery. A port that somebody else took is tried again when
// the caller left the choice.
func (b Binaries) StartPostgres(ctx context.Context, s PostgresSpec) (Server, error) {
	bin, err := b.PG("postgres")
	if err != nil {
		return Server{}, err
	}

	if len(s.HBA) > 0 {
		if err := b.RunAs.WriteFile(filepath.Join(s.Dir, "pg_hba.conf"), strings.Join(s.HBA, "\n")+"\n"); err != nil {
			return Server{}, err
		}
	}

	if s.SocketDir != "" {
		if err := b.RunAs.Mkdir(s.SocketDir, 0o700); err != nil {
			return Server{}, err
		}
	}

	if err := clearLock(s); err != nil {
		return Server{}, err
	}

	return b.onPort(s.Port, func(port int) (Server, error) {
		args := []string{"-D", s.Dir, "-c", "listen_addresses=127.0.0.1", "-c", "port=" + strconv.Itoa(port),
			"-c", "unix_socket_directories=" + s.SocketDir, "-c", "logging_collector=off", "-c", "log_destination=stderr"}
		for _, k := range slices.Sorted(maps.Keys(s.Settings)) {
			args = append(args, "-c", k+"="+s.Settings[k])
		}

		l := launch{name: s.name(), kind: targets.Postgres, path: bin, args: args, env: s.Env, dir: s.Dir,
			address: fmt.Sprintf("127.0.0.1:%d", port), logFile: logOf(s.LogFile, s.Dir), detached: s.Detached, timeout: s.Wait}
		if !s.NoWait {
			l.ready = func() error { return PostgresState(s.Dir) }
		}

		return b.start(ctx, l)
	})
}

// clearLock refuses a data directory on which a server runs, and removes the
// lock file that a killed one left: its pid may be somebody else's by now,
// which PostgreSQL would take for a running server, and PostgresState for readiness.
func clearLock(s PostgresSpec) error {
	path := filepath.Join(s.Dir, "postmaster.pid")

	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}

	if err != nil {
		return fail.FromOS("read", path, err)
	}

	real, err := filepath.EvalSymlinks(s.Dir)
	if err != nil {
		return fail.FromOS("read", s.Dir, err)
	}

	first, _, _ := strings.Cut(string(b), "\n")
	for try := 0; ; try++ {
		left := In(real)
		if len(left) == 0 {
			break
		}
		// The children of a killed server end by themselves in a moment; as long
		// as one lives, a second server would ruin the data.
		if main := slices.ContainsFunc(left, func(p Server) bool { return strconv.Itoa(p.Pid) == strings.TrimSpace(first) }); main || try == 50 {
			return fail.New(fail.Conflict, "start server", s.name(), "stop it first", fmt.Errorf("a server with pid %d runs on %s", left[0].Pid, s.Dir))
		}

		time.Sleep(100 * time.Millisecond)
	}

	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail.FromOS("remove", path, err)
	}

	return nil
}

// PostgresState returns nil when the server of a data directory is ready or a
// standby, by the status that it writes to postmaster.pid.
func PostgresState(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return errNotYet
		}

		return fail.FromOS("read", filepath.Join(dir, "postmaster.pid"), err)
	}

	lines := strings.Split(string(b), "\n")
	if len(lines) < 8 {
		return errNotYet
	}

	pid, _ := strconv.Atoi(strings.TrimSpace(lines[0]))
	if _, err := proc.Of(pid); err != nil {
		return errNotYet // left over by a server that was killed
	}

	if st := strings.TrimSpace(lines[7]); st == "ready" || st == "standby" {
		return nil
	}

	return errNotYet
}
