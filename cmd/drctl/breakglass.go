package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/serve"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/sandbox"
	"drctl/internal/servers"
	"drctl/internal/trust"
	"drctl/internal/vault"
	"drctl/targets"
)

// vaultFlags locate one vault without a configuration: all that is left on the
// worst day.
type vaultFlags struct {
	url, endpoint, region, accessKey, secretFile, keyFile string
}

// flags adds the flags that locate a vault without a configuration.
func (f *vaultFlags) flags(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.url, "vault-url", "", "without a configuration: file:///path or s3://bucket/prefix")
	fl.StringVar(&f.endpoint, "vault-endpoint", "", "without a configuration: URL of an S3 service that is not AWS")
	fl.StringVar(&f.region, "vault-s3-region", "us-east-1", "without a configuration: S3 region")
	fl.StringVar(&f.accessKey, "vault-access-key", "", "without a configuration: S3 access key id")
	fl.StringVar(&f.secretFile, "vault-secret-file", "", "without a configuration: file with the S3 secret key (or $"+secretEnv+")")
	fl.StringVar(&f.keyFile, "key", "", "without a configuration: file with the vault's age identity")
	c.PreRunE = func(*cobra.Command, []string) error {
		for _, name := range []string{"vault-endpoint", "vault-s3-region", "vault-access-key", "vault-secret-file", "key"} {
			if f.url == "" && fl.Changed(name) {
				return fail.New(fail.Invalid, "flags", "--"+name, "add --vault-url, or leave the flag out", errors.New("without --vault-url the configuration says where the vault is and what opens it"))
			}
		}

		return nil
	}
}

// secretEnv is where the S3 secret key comes from when no file is named.
const secretEnv = "DRCTL_VAULT_SECRET_KEY"

func (f vaultFlags) open(ctx context.Context, tools servers.Binaries, cache string, log *slog.Logger) (*vault.Vault, error) {
	key, err := readSecretFile(f.keyFile, "--key")
	if err != nil {
		return nil, err
	}

	k, err := vault.ParseKey(key)
	if err != nil {
		return nil, err
	}

	loc := vault.Location{URL: f.url, Endpoint: f.endpoint, Region: f.region, AccessKey: f.accessKey}
	if f.secretFile != "" {
		if loc.SecretKey, err = readSecretFile(f.secretFile, "--vault-secret-file"); err != nil {
			return nil, err
		}
	} else if s := os.Getenv(secretEnv); s != "" {
		loc.SecretKey = targets.NewSecret(s)
	}
	// The vault says itself which region it is.
	name, _, _, err := vault.Describe(ctx, loc)
	if err != nil {
		return nil, err
	}

	return vault.Open(ctx, vault.Options{Region: name, Location: loc, Key: k, ResticBin: tools.ResticBin, CacheDir: cache, Log: log})
}

func readSecretFile(path, flag string) (targets.Secret, error) {
	if path == "" {
		return targets.Secret{}, fail.New(fail.Invalid, "flags", flag, "name the file", errors.New("it is missing"))
	}

	b, err := os.ReadFile(path)
	if err != nil {
		return targets.Secret{}, fail.New(fail.NotFound, "read secret", path, "", err)
	}

	return targets.NewSecret(strings.TrimSpace(string(b))), nil
}

// privateDir is where a command without a configuration works, and the mode of
// that directory: nobody else may put anything there. Root's can be traversed,
// because its servers run as another user.
func privateDir() (dir string, mode os.FileMode, err error) {
	if os.Geteuid() == 0 {
		return "/var/lib/drctl", 0o711, nil
	}

	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", 0, fail.New(fail.Invalid, "restore: working directory", "", "name one with --sandbox-dir", err)
		}
		state = filepath.Join(home, ".local", "state")
	}

	return filepath.Join(state, "drctl"), 0o700, nil
}

// makePrivateDir makes it, or takes it when it is there and is this user's.
func makePrivateDir() error {
	const op, hint = "restore: working directory", "name another with --sandbox-dir"

	dir, mode, err := privateDir()
	if err != nil {
		return err
	}

	err = os.MkdirAll(filepath.Dir(dir), 0o755)
	if err == nil {
		if err = os.Mkdir(dir, mode); errors.Is(err, os.ErrExist) {
			err = nil
		}
	}

	if err != nil {
		return fail.New(fail.Denied, op, dir, hint, err)
	}

	return trust.Dir(op, dir)
}

// breakGlass starts an engine of its own and serves the queues with workers
// inside this process: the same workflows, without anything that was lost.
func (a *app) breakGlass(ctx context.Context, bin, sandboxes string, sandboxMax int64, state string, p platform.Resolver, regions map[string]string, tools servers.Binaries, log *slog.Logger) (s *session, stop func(), err error) {
	exe, err := findEngine(bin)
	if err != nil {
		return nil, nil, err
	}

	if err := startGuard(sandboxes, enginesDir(state)); err != nil {
		return nil, nil, err
	}
	// The engine's database goes the way of the sandboxes when this process is
	// killed, but is not among them: they may fill their volume.
	box, err := sandbox.Create(ctx, sandbox.Options{Root: enginesDir(state), ID: fmt.Sprintf("engine-%d-%d", os.Getpid(), time.Now().UnixMilli()), Purpose: "engine of one command", Owner: os.Getpid()})
	if err != nil {
		return nil, nil, err
	}

	a.say(slog.LevelInfo, "starting an engine of its own")
	quiet := slog.New(slog.DiscardHandler)

	e, err := engine.StartEmbedded(ctx, engine.EmbeddedOptions{Bin: exe, Dir: filepath.Join(box.Dir(), "db"), Log: quiet})
	if err != nil {
		return nil, nil, errors.Join(err, box.Remove(ctx))
	}
	down := func() {
		_ = e.Stop(context.WithoutCancel(ctx))
		_ = box.Remove(context.WithoutCancel(ctx)) // else the guard does it
	}
	opt := e.Options()
	opt.Log = quiet

	c, err := engine.Dial(ctx, opt)
	if err != nil {
		down()
		return nil, nil, err
	}

	queues := slices.Sorted(maps.Values(regions))

	workers, err := serve.Start(c, serve.Options{Version: version, Commit: commit, Platform: p, Tools: tools, Log: log, Queues: queues, Host: a.hostname(),
		Sandboxes: sandboxes, SandboxMax: sandboxMax, Owner: os.Getpid(), State: state, Fatal: make(chan error, 8)})
	if err != nil {
		c.Close()
		down()

		return nil, nil, err
	}

	return &session{app: a, engine: c, log: log, own: true}, func() {
		workers()
		c.Close()
		down()
	}, nil
}
