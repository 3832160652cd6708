package config

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
	"slices"
	"strings"
	"time"

	"drctl/config/unit"
	"drctl/internal/fail"
	"drctl/targets"
)

const (
	commandLimit = 10 * time.Second
	maxSecret    = 64 << 10
)

// Secret resolves a reference, each time anew, so that a rotated secret is
// picked up. Errors name the reference and never the content: not-found,
// denied, stalled (a command that does not end), invalid.
func (c *Config) Secret(ctx context.Context, ref Ref) (targets.Secret, error) {
	const op = "config: resolve secret"

	text, err := c.readSecret(ctx, ref)
	if err != nil {
		return targets.Secret{}, err
	}

	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case text == "":
		return targets.Secret{}, fail.Newf(fail.Invalid, op, ref.String(), "the secret is empty")
	case strings.ContainsRune(text, 0):
		return targets.Secret{}, fail.Newf(fail.Invalid, op, ref.String(), "the secret contains a zero byte")
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

func (c *Config) readSecret(ctx context.Context, ref Ref) (string, error) {
	const op = "config: resolve secret"
	switch {
	case ref.Env != "":
		if c.env != nil {
			if v, ok := c.env(ref.Env); ok {
				return v, nil
			}
		}

		return "", fail.New(fail.NotFound, op, ref.String(), "set it for the process that runs drctl, or refer to a file", errors.New("the environment variable is not set"))
	case ref.File != "":
		return readSecretFile(ref)
	case len(ref.Command) > 0:
		return runSecretCommand(ctx, ref)
	}

	return "", fail.Newf(fail.Invalid, op, ref.String(), "the reference is empty")
}

func readSecretFile(ref Ref) (string, error) {
	const op = "config: resolve secret"

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

func runSecretCommand(ctx context.Context, ref Ref) (string, error) {
	const op = "config: resolve secret"

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

// warnSecretFiles looks at the secret files that exist here: another
// region's workers may have the others. Each file is named once, where it is
// named first.
func (c *Config) warnSecretFiles() {
	seen := map[string]bool{}
	for _, r := range c.Refs() {
		if r.Ref.File == "" || seen[r.Ref.File] {
			continue
		}

		seen[r.Ref.File] = true
		if readByAll(r.Ref.File) {
			c.warn(r.Path, "chmod 600 "+r.Ref.File, "the secret file %s can be read by everybody", r.Ref.File)
		}
	}
	c.warnings = sortMistakes(c.warnings)
}

// readByAll reports whether every user may read a file: its mode says so, and
// that of every directory on the way to it.
func readByAll(file string) bool {
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

// RefAt is a secret's reference and the key at which it stands.
type RefAt struct {
	Path string
	Ref  Ref
}

// Refs lists every secret's reference, the empty ones left out.
func (c *Config) Refs() []RefAt {
	out := []RefAt{{"key", c.Key}, {"engine.api_key", c.Engine.APIKey}}
	for _, r := range c.RegionNames() {
		out = append(out, RefAt{"regions." + r + ".vault.secret_key", c.Regions[r].Vault.SecretKey})
	}

	for _, name := range sortedKeys(c.Targets) {
		t, at := c.Targets[name], "targets."+name

		out = append(out, RefAt{at + ".password", t.Password}, RefAt{at + ".secret_key", t.SecretKey})
		for _, s := range sortedKeys(t.Shards) {
			for _, r := range sortedKeys(t.Shards[s]) {
				i, at := t.Shards[s][r], at+".shards."+s+"."+r
				out = append(out, RefAt{at + ".password", i.Password}, RefAt{at + ".secret_key", i.SecretKey})
			}
		}
	}

	return slices.DeleteFunc(out, func(r RefAt) bool { return r.Ref.IsZero() })
}
