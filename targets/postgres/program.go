package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"drctl/internal/fail"
	"drctl/internal/servers"
	"drctl/targets"
)

// runProgram runs a PostgreSQL program to its end as the servers' user and
// returns what it printed. The environment is env and nothing else; passwords
// go through it, never through args.
func runProgram(ctx context.Context, op string, tools servers.Binaries, env []string, program string, args ...string) (string, error) {
	return runInput(ctx, op, tools, env, "", program, args...)
}

// runInput is runProgram with something to read on its standard input.
func runInput(ctx context.Context, op string, tools servers.Binaries, env []string, input, program string, args ...string) (string, error) {
	cred, err := tools.RunAs.Credential()
	if err != nil {
		return "", err
	}
	path := filepath.Join(tools.PostgresBin, program)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", append([]string{"LC_ALL=C", "PATH=/usr/bin:/bin"}, env...), 2*time.Second
	cmd.Stdin = strings.NewReader(input)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	switch {
	case err == nil:
		return text, nil
	case ctx.Err() != nil:
		return text, fail.New(fail.CodeOf(ctx.Err()), op, program, "", ctx.Err())
	case tools.PostgresBin == "" || errors.Is(err, fs.ErrNotExist):
		return text, fail.New(fail.NotFound, op, program, "install the PostgreSQL server programs (Debian: postgresql), or name their directory in the configuration", err)
	}
	return text, fail.New(fail.Internal, op, program, "", fmt.Errorf("%w: %s", err, clip(text)))
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
