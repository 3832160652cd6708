package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"drctl/config/unit"
	"drctl/internal/fail"
	"drctl/targets"
)

const (
	op           = "config: resolve secret"
	commandLimit = 10 * time.Second
	maxSecret    = 64 << 10
)

// Ref says where a secret is; exactly one field is set. Its tags are of the grammar of
// the configuration.
type Ref struct {
	Env     string   `yaml:"env" format:"envname" quiet:"true" doc:"Name of an environment variable."`
	File    string   `yaml:"file" format:"path" quiet:"true" doc:"File that holds the secret; one trailing line end is dropped."`
	Command []string `yaml:"command" doc:"Program and arguments that print the secret; run without a shell, at most 10 s."`
}

// IsZero reports whether nothing is referred to.
func (r Ref) IsZero() bool { return r.Env == "" && r.File == "" && len(r.Command) == 0 }

// Resolve reads the secret, each time anew, so that a rotated one is picked up. env
// answers names of the environment and may be nil. Errors name the reference and never
// the content: not-found, denied, stalled (a command that does not end), invalid.
func (r Ref) Resolve(ctx context.Context, env func(string) (string, bool)) (targets.Secret, error) {
	text, err := r.read(ctx, env)
	if err != nil {
		return targets.Secret{}, err
	}

	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case text == "":
		return targets.Secret{}, fail.Newf(fail.Invalid, op, r.String(), "the secret is empty")
	case strings.ContainsRune(text, 0):
		return targets.Secret{}, fail.Newf(fail.Invalid, op, r.String(), "the secret contains a zero byte")
	}

	return targets.NewSecret(text), nil
}

// String names the reference: "env PASSWORD", "file /p", "command vault-read".
// Arguments are left out: people put tokens there.
func (r Ref) String() string {
	switch {
	case r.Env != "":
		return "env " + r.Env
	case r.File != "":
		return "file " + r.File
	case len(r.Command) > 0:
		return "command " + r.Command[0]
	}

	return "no secret"
}

func (ref Ref) read(ctx context.Context, env func(string) (string, bool)) (string, error) {
	switch {
	case ref.Env != "":
		if env != nil {
			if v, ok := env(ref.Env); ok {
				return v, nil
			}
		}

		return "", fail.New(fail.NotFound, op, ref.String(), "set it for the process that runs drctl, or refer to a file", errors.New("the environment variable is not set"))
	case ref.File != "":
		return readFile(ref)
	case len(ref.Command) > 0:
		return runCommand(ctx, ref)
	}

	return "", fail.Newf(fail.Invalid, op, ref.String(), "the reference is empty")
}

func readFile(ref Ref) (string, error) {
	f, err := os.Open(ref.File)
	if err != nil {
		code, hint := fail.Invalid, ""
		switch {
		case errors.Is(err, fs.ErrNotExist):
			code, hint = fail.NotFound, "put the secret there, readable by the user of drctl alone"
		case errors.Is(err, fs.ErrPermission):
			code, hint = fail.Denied, "let the user who runs drctl read it"
		}

		return "", fail.New(code, op, ref.String(), hint, err)
	}
	defer f.Close()

	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fail.New(fail.Invalid, op, ref.String(), "", err)
	}

	if len(b) > maxSecret {
		return "", fail.Newf(fail.Invalid, op, ref.String(), "the file is larger than %s", unit.Size(maxSecret))
	}

	return string(b), nil
}

// limited keeps the first bytes and counts the rest.
type limited struct {
	buf  bytes.Buffer
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	if room := maxSecret - l.buf.Len(); len(p) > room {
		l.over = true
		l.buf.Write(p[:room])
	} else {
		l.buf.Write(p)
	}

	return len(p), nil
}

func runCommand(ctx context.Context, ref Ref) (string, error) {
	limit, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	var out limited
	cmd := exec.CommandContext(limit, ref.Command[0], ref.Command[1:]...)
	cmd.Stdout = &out // standard error is dropped: it may quote the secret
	cmd.WaitDelay = time.Second

	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", fail.New(fail.Unavailable, op, ref.String(), "", ctx.Err())
	case errors.Is(limit.Err(), context.DeadlineExceeded):
		return "", fail.New(fail.Stalled, op, ref.String(), "", fmt.Errorf("the command did not end within %s", commandLimit))
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist):
		return "", fail.New(fail.NotFound, op, ref.String(), "install it or name it with its whole path", err)
	case err != nil:
		return "", fail.New(fail.Unavailable, op, ref.String(), "run the command by hand to see what it says", err)
	case out.over:
		return "", fail.Newf(fail.Invalid, op, ref.String(), "the command printed more than %s", unit.Size(maxSecret))
	}

	return out.buf.String(), nil
}

// ReadByAll reports whether every user may read a file: its mode says so, and
// that of every directory on the way to it.
func ReadByAll(file string) bool {
	st, err := os.Stat(file)
	if err != nil || st.Mode().Perm()&0o004 == 0 {
		return false
	}

	real, err := filepath.EvalSymlinks(file)
	if err == nil {
		real, err = filepath.Abs(real)
	}

	if err != nil {
		return true // not known to be hidden
	}

	for dir := filepath.Dir(real); ; dir = filepath.Dir(dir) {
		if st, err := os.Stat(dir); err == nil && st.Mode().Perm()&0o001 == 0 {
			return false
		}

		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
