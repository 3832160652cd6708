package restic

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/targets"
)

// Repo is one repository and how to reach it.
type Repo struct {
	Bin      string // path of restic
	Location string // as restic's -r: a directory or s3:http://host:port/bucket/path
	Password targets.Secret
	// AccessKey and SecretKey are for s3; empty means what the environment offers.
	AccessKey string
	SecretKey targets.Secret
	Region    string
	// CacheDir is restic's cache; empty means none.
	CacheDir string
	// TempDir is where restic assembles packs; empty means the system's.
	TempDir string
}

const (
	// lockWait is how long a command waits for another's lock.
	lockWait = "2m"
	// interruptWait is how long restic may take to let go of its lock.
	interruptWait = 5 * time.Second
	keepErrors    = 20
)

// message is the union of what restic prints with --json.
type message struct {
	Type  string `json:"message_type"`
	Error struct {
		Message string `json:"message"`
	} `json:"error"`
	Message string `json:"message"`
	Item    string `json:"item"`
	Code    int    `json:"code"`

	TotalBytes    int64 `json:"total_bytes"`
	BytesDone     int64 `json:"bytes_done"`
	BytesRestored int64 `json:"bytes_restored"`

	SnapshotID          string   `json:"snapshot_id"`
	TotalFilesProcessed int64    `json:"total_files_processed"`
	TotalBytesProcessed int64    `json:"total_bytes_processed"`
	DataAddedPacked     int64    `json:"data_added_packed"`
	NumErrors           int      `json:"num_errors"`
	BrokenPacks         []string `json:"broken_packs"`
}

// command is one run of restic.
type command struct {
	op    string // for errors
	args  []string
	dir   string
	stdin *os.File
	// on sees every JSON message on stdout; raw sees stdout itself instead.
	on     func(message)
	raw    io.Writer
	noLock bool
}

// result is how a run ended.
type result struct {
	exit   int
	items  []itemError // errors that name a file
	errors []string    // other error messages, JSON or plain, newest last
	fatal  string      // the final message
}

type itemError struct{ item, message string }

func (r *Repo) base() []string {
	a := []string{"--json", "-r", r.Location}
	if r.CacheDir == "" {
		a = append(a, "--no-cache")
	} else {
		a = append(a, "--cache-dir", r.CacheDir)
	}

	if r.remote() {
		a = append(a, "-o", "s3.bucket-lookup=path")
		if r.Region != "" {
			a = append(a, "-o", "s3.region="+r.Region)
		}
	}

	return a
}

func (r *Repo) remote() bool { return strings.HasPrefix(r.Location, "s3:") }

// env is the whole environment of the child: what it needs and no more, so
// that RESTIC_* settings of the host cannot change what a backup holds.
func (r *Repo) env() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case name == "PATH", name == "HOME", name == "TMPDIR" && r.TempDir == "",
			name == "SSL_CERT_FILE", name == "SSL_CERT_DIR",
			strings.HasSuffix(strings.ToLower(name), "_proxy"),
			strings.HasPrefix(name, "AWS_") && r.AccessKey == "":
			env = append(env, kv)
		}
	}

	if r.TempDir != "" {
		env = append(env, "TMPDIR="+r.TempDir)
	}

	env = append(env, "RESTIC_PASSWORD="+r.Password.Reveal(), "RESTIC_PROGRESS_FPS=4")
	if r.AccessKey != "" {
		env = append(env, "AWS_ACCESS_KEY_ID="+r.AccessKey, "AWS_SECRET_ACCESS_KEY="+r.SecretKey.Reveal())
	}

	return env
}

// run starts restic and waits for it. A lock left by a dead process is cleared
// once; a non-zero exit is in the result, not in the error.
func (r *Repo) run(ctx context.Context, c command) (result, error) {
	wait := "3s"
	if c.stdin != nil {
		wait = lockWait // input cannot be offered twice
	}

	for {
		res, err := r.once(ctx, c, wait)
		if err != nil || res.exit != exitLocked || wait == lockWait {
			return res, err
		}

		if err := r.Unlock(ctx); err != nil {
			return res, err
		}
		wait = lockWait
	}
}

// Unlock clears the locks of processes that are gone; it leaves live ones.
func (r *Repo) Unlock(ctx context.Context) error {
	res, err := r.once(ctx, command{op: "unlock", args: []string{"unlock"}}, "")
	if err != nil {
		return err
	}

	return r.check("unlock", res)
}

func (r *Repo) once(ctx context.Context, c command, wait string) (result, error) {
	ended, out, errs, err := r.start(ctx, c, wait)
	if err != nil {
		return result{}, err
	}

	return r.finish(ctx, c, ended, out, errs)
}

func (r *Repo) start(ctx context.Context, c command, wait string) (ended <-chan error, stdout, stderr io.Reader, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, nil, r.fail(c.op, fail.CodeOf(err), "", err)
	}

	if r.Bin == "" {
		return nil, nil, nil, r.fail(c.op, fail.Invalid, "install restic "+MinVersion+" or later, or name it under sandbox.tools.restic", errors.New("no restic was found on this host"))
	}

	args := r.base()
	if c.noLock {
		args = append(args, "--no-lock")
	} else if wait != "" {
		args = append(args, "--retry-lock", wait)
	}
	cmd := exec.CommandContext(ctx, r.Bin, append(args, c.args...)...)
	cmd.Env = r.env()
	cmd.Dir = c.dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }

	cmd.WaitDelay = interruptWait
	if c.stdin != nil {
		// restic lets go of its lock at once but then waits for its input.
		cmd.Stdin, cmd.WaitDelay = c.stdin, interruptWait/3
	}

	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, r.fail(c.op, fail.Exhausted, "", err)
	}

	errR, errW, err := os.Pipe()
	if err != nil {
		_ = outR.Close()
		_ = outW.Close()

		return nil, nil, nil, r.fail(c.op, fail.Exhausted, "", err)
	}
	cmd.Stdout, cmd.Stderr = outW, errW

	err = proc.StartChild(cmd)
	_ = outW.Close()

	_ = errW.Close()
	if err != nil {
		_ = outR.Close()
		_ = errR.Close()

		code, hint := fail.Internal, ""
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			code, hint = fail.NotFound, "install restic 0.19.1 or later, or name its path"
		}

		return nil, nil, nil, r.fail(c.op, code, hint, err)
	}

	if c.op != "restore" && c.op != "dump" {
		// A base must not slow the platform down; a restore is the platform's
		// only hope. The group is set, not the process, because nice values
		// belong to threads. Where it is not allowed nothing is lost.
		_ = syscall.Setpriority(syscall.PRIO_PGRP, cmd.Process.Pid, 10)
	}

	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()

	return done, outR, errR, nil
}

// finish reads both outputs to their end and waits.
func (r *Repo) finish(ctx context.Context, c command, ended <-chan error, out, errs io.Reader) (result, error) {
	var res result

	stderrDone := make(chan struct{})
	go func() {
		defer close(stderrDone)

		res.read(errs)
	}()

	var outErr error
	if c.raw != nil {
		_, outErr = io.Copy(c.raw, out)
	} else {
		lines(out, func(line []byte) {
			var m message
			if json.Unmarshal(line, &m) == nil && c.on != nil {
				c.on(m)
			}
		})
	}

	closeAll(out)
	<-stderrDone
	closeAll(errs)

	err := <-ended
	if cerr := ctx.Err(); cerr != nil && err != nil {
		return res, r.fail(c.op, fail.CodeOf(cerr), "", cerr)
	}

	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		res.exit = exit.ExitCode()
		if res.exit < 0 {
			return res, r.fail(c.op, fail.Unavailable, "", fmt.Errorf("restic was killed: %w", err))
		}
	case err != nil:
		return res, r.fail(c.op, fail.Internal, "", err)
	case outErr != nil:
		return res, r.fail(c.op, fail.Internal, "", outErr)
	}

	return res, nil
}

func closeAll(rs ...io.Reader) {
	for _, x := range rs {
		if c, ok := x.(io.Closer); ok {
			_ = c.Close()
		}
	}
}

// read collects what restic says on stderr.
func (res *result) read(r io.Reader) {
	lines(r, func(line []byte) {
		var m message
		switch {
		case json.Unmarshal(line, &m) != nil:
			res.note(string(line))
		case m.Type == "exit_error":
			res.fatal = strings.TrimSpace(m.Message)
		case m.Type == "error" && m.Item != "":
			if len(res.items) < 10000 {
				res.items = append(res.items, itemError{m.Item, m.Error.Message})
			}
		case m.Type == "error":
			res.note(m.Message + m.Error.Message)
		}
	})
}

func (res *result) note(s string) {
	if s = strings.TrimSpace(s); s == "" {
		return
	}

	if res.errors = append(res.errors, s); len(res.errors) > 200 {
		res.errors = res.errors[1:]
	}
}

// lines calls f with each line of any length up to 16 MiB; longer ones are cut.
func lines(r io.Reader, f func([]byte)) {
	br := bufio.NewReaderSize(r, 64<<10)

	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(line) < 16<<20 {
			line = append(line, part...)
		}

		if err == bufio.ErrBufferFull {
			continue
		}

		if len(line) > 0 {
			f(line)
			line = line[:0]
		}

		if err != nil {
			return
		}
	}
}
