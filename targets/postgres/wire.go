package postgres

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// headLimit is how much of the tar stream is looked at for the backup label,
// which is its first member.
const headLimit = 64 << 10

// wire lets the server send the base as one tar stream.
func (b *baseRun) wire(ctx context.Context) error {
	var spaces int
	err := b.conn.QueryRow(ctx, "SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global') AND pg_tablespace_location(oid) LIKE '/%'").Scan(&spaces)
	if err != nil {
		return queryError(opBase, b.in, "", err)
	}
	if spaces > 0 {
		return fail.New(fail.Unsupported, opBase, b.in.String(), "set data_dir of the instance and run the worker where it can be read",
			fmt.Errorf("the server has %d tablespaces outside its data directory, which cannot be sent in one stream", spaces))
	}
	tools, err := b.d.findTools()
	if err != nil {
		return err
	}
	src, err := startBaseBackup(ctx, filepath.Join(tools.PostgresBin, "pg_basebackup"), b.in, b.req.ID)
	if err != nil {
		return err
	}
	defer src.abort()
	saved, err := b.to.SaveStream(ctx, wireName, src, b.req.Progress)
	if src.failed() != nil {
		return src.failed()
	}
	if err != nil {
		return err
	}
	b.a.Snapshot, b.a.Path, b.a.Bytes, b.a.BytesAdded = saved.Snapshot, saved.Path, saved.Bytes, saved.BytesAdded
	if err := b.sameServer(ctx); err != nil {
		return err
	}
	l, err := src.label()
	if err != nil {
		return fail.New(fail.Internal, opBase, b.in.String(), "", err)
	}
	// pg_basebackup keeps the stop position to itself; the server's flushed
	// position now is at or behind it, and replay to it is enough.
	now, err := readServer(ctx, opBase, b.in, b.conn)
	if err != nil {
		return err
	}
	return b.positions(l, now.lsn)
}

// backupStream is the output of pg_basebackup; it ends with io.EOF only when
// the program reported success.
type backupStream struct {
	cmd    *exec.Cmd
	in     targets.Instance
	ctx    context.Context //nolint:containedctx // lives as long as the call
	out    io.ReadCloser
	stderr tailBuffer
	head   []byte

	once sync.Once
	err  error
	done bool
}

func startBaseBackup(ctx context.Context, program string, in targets.Instance, id string) (*backupStream, error) {
	host, port, err := splitAddress(in.Address)
	if err != nil {
		return nil, fail.New(fail.Invalid, opBase, in.String(), "write the address as host:port", err)
	}
	s := &backupStream{in: in, ctx: ctx}
	s.cmd = exec.CommandContext(ctx, program, "--pgdata=-", "--format=tar", "--wal-method=none", "--checkpoint=fast", "--no-manifest",
		"--no-password", "--label=drctl "+id, "--host="+host, fmt.Sprintf("--port=%d", port), "--username="+in.User)
	s.cmd.Env = clientEnv(in)
	s.cmd.Stderr = &s.stderr
	s.cmd.WaitDelay = 2 * time.Second
	if s.out, err = s.cmd.StdoutPipe(); err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		return nil, fail.New(fail.NotFound, opBase, in.String(), "install the PostgreSQL client programs of the server's version", err)
	}
	return s, nil
}

// clientEnv is the whole environment of a libpq program: nothing of ours
// leaks in, and the password is not an argument.
func clientEnv(in targets.Instance) []string {
	env := []string{"PGPASSWORD=" + in.Password.Reveal(), "PGAPPNAME=" + applicationName, "PGCONNECT_TIMEOUT=10", "LC_ALL=C", "PATH=/usr/bin:/bin"}
	switch in.TLS {
	case "", "disable":
		env = append(env, "PGSSLMODE=disable")
	default:
		env = append(env, "PGSSLMODE="+in.TLS)
		if in.CAFile != "" {
			env = append(env, "PGSSLROOTCERT="+in.CAFile)
		}
	}
	return env
}

func (s *backupStream) Read(p []byte) (int, error) {
	if s.done {
		return 0, s.final()
	}
	n, err := s.out.Read(p)
	if len(s.head) < headLimit {
		s.head = append(s.head, p[:min(n, headLimit-len(s.head))]...)
	}
	if err != nil {
		s.wait()
		s.done = true
		if n > 0 {
			return n, nil
		}
		return 0, s.final()
	}
	return n, nil
}

func (s *backupStream) final() error {
	if s.err != nil {
		return s.err
	}
	return io.EOF
}

func (s *backupStream) wait() {
	s.once.Do(func() {
		if err := s.cmd.Wait(); err != nil {
			code, hint := fail.Unavailable, "no base was taken; look at the server's log"
			text := s.stderr.String()
			switch {
			case strings.Contains(text, "password authentication failed"), strings.Contains(text, "no pg_hba.conf entry"), strings.Contains(text, "must be superuser or replication role"):
				code, hint = fail.Denied, "ALTER ROLE "+quoteIdent(s.in.User)+" REPLICATION, and a pg_hba.conf line for database replication"
			case s.ctx.Err() != nil:
				err = s.ctx.Err()
			}
			s.err = fail.New(code, opBase, s.in.String(), hint, fmt.Errorf("pg_basebackup: %w: %s", err, strings.TrimSpace(text)))
		}
	})
}

// failed returns why the program failed, nil when it did not or still runs.
func (s *backupStream) failed() error { return s.err }

// abort ends the program when the sink did not read to the end.
func (s *backupStream) abort() {
	if !s.done {
		_ = s.cmd.Process.Kill()
		s.wait()
	}
}

// label returns the backup label from the head of the stream.
func (s *backupStream) label() ([]byte, error) {
	r := tar.NewReader(bytes.NewReader(s.head))
	for {
		h, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("no backup_label at the head of the stream: %w", err)
		}
		if strings.TrimPrefix(h.Name, "./") == fileLabel {
			return io.ReadAll(r)
		}
	}
}

// tailBuffer keeps the last 4 KiB written to it.
type tailBuffer struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 4096 {
		t.buf = append([]byte(nil), t.buf[len(t.buf)-4096:]...)
	}
	return len(p), nil
}

func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
