package restic

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"drctl/internal/fail"
)

// Seed is the beginning of a repository: its two files that are not derived
// from data. Whoever writes both has made the repository.
type Seed struct {
	Config  []byte `json:"config"`   // the file "config"
	KeyName string `json:"key_name"` // "keys/" + KeyName, the SHA-256 of Key
	Key     []byte `json:"key"`
}

// NewSeed makes a repository in a scratch directory and returns its beginning.
// restic itself cannot make one safely where several processes may try at once.
func (r *Repo) NewSeed(ctx context.Context) (Seed, error) {
	const op = "init"

	dir, err := os.MkdirTemp(r.TempDir, "drctl-seed-*")
	if err != nil {
		return Seed{}, r.fail(op, fail.Exhausted, "", err)
	}
	defer os.RemoveAll(dir)
	scratch := Repo{Bin: r.Bin, Location: filepath.Join(dir, "r"), Password: r.Password, TempDir: r.TempDir}

	res, err := scratch.run(ctx, command{op: op, args: []string{"init", "--repository-version", "2"}})
	if err != nil {
		return Seed{}, err
	}

	if err := scratch.check(op, res); err != nil {
		return Seed{}, err
	}

	var s Seed
	if s.Config, err = os.ReadFile(filepath.Join(scratch.Location, "config")); err != nil {
		return Seed{}, r.fail(op, fail.Internal, "", err)
	}

	keys, err := os.ReadDir(filepath.Join(scratch.Location, "keys"))
	if err != nil || len(keys) != 1 {
		return Seed{}, r.fail(op, fail.Internal, "", fmt.Errorf("%d key files: %v", len(keys), err))
	}

	s.KeyName = keys[0].Name()
	if s.Key, err = os.ReadFile(filepath.Join(scratch.Location, "keys", s.KeyName)); err != nil {
		return Seed{}, r.fail(op, fail.Internal, "", err)
	}

	return s, nil
}

// MinVersion is the oldest restic that drctl trusts.
const MinVersion = "0.19.1"

// Version returns the program's version, and fail.Unsupported when it is older
// than MinVersion.
func (r *Repo) Version(ctx context.Context) (string, error) {
	var out limited

	res, err := r.run(ctx, command{op: "version", args: []string{"version"}, raw: &out})
	if err != nil {
		return "", err
	}

	var v struct{ Version string }
	if res.exit != 0 || json.Unmarshal(out.b, &v) != nil || v.Version == "" {
		return "", fail.Newf(fail.Unsupported, "restic: version", r.Bin, "not a restic: %s", res.cause())
	}

	if older(v.Version, MinVersion) {
		return v.Version, fail.New(fail.Unsupported, "restic: version", r.Bin, "install restic "+MinVersion+" or later",
			fmt.Errorf("restic %s is too old", v.Version))
	}

	return v.Version, nil
}

func older(a, b string) bool {
	as, bs := numbers(a), numbers(b)
	for i := range as {
		if as[i] != bs[i] {
			return as[i] < bs[i]
		}
	}

	return false
}

func numbers(v string) (n [3]int) {
	v, _, _ = strings.Cut(v, "-")
	for i, p := range strings.SplitN(v, ".", 3) {
		n[i], _ = strconv.Atoi(p)
	}

	return n
}

// advice reports whether a line is restic's general advice and no finding.
func advice(line string) bool {
	for _, s := range []string{"The repository contains damaged pack files", "The repository is damaged and must be repaired",
		"restic repair ", "Damaged pack files can be caused by", "using temporary cache", "create exclusive lock", "signal interrupt"} {
		if strings.HasPrefix(line, s) {
			return true
		}
	}

	return false
}
