package claim

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/servers"
	"drctl/targets"
)

// Claim says that a directory is half-written by a restore, which may be
// repeated into it: a record beside the directory, and a file in it that holds
// the record's token.
type Claim struct {
	Dir   string `json:"dir"`
	Token string `json:"token"`
	// Server is the process that the restore started in the directory.
	Server servers.Server `json:"server,omitzero"`

	record string
}

// Read reads the record of a directory's claim. found is false when there
// is none; held says that the directory still is what the restore left.
func Read(record, dir string) (c Claim, found, held bool, err error) {
	b, err := os.ReadFile(record)
	if errors.Is(err, os.ErrNotExist) {
		return c, false, false, nil
	}
	if err != nil {
		return c, false, false, fail.FromOS("read", record, err)
	}
	if err := json.Unmarshal(b, &c); err != nil || c.Dir != dir || c.Token == "" {
		return Claim{}, false, false, nil // another directory's, or half-written
	}
	c.record = record
	token, err := os.ReadFile(filepath.Join(dir, targets.ClaimFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return c, true, false, fail.FromOS("read", dir, err)
	}
	return c, true, string(token) == c.Token, nil
}

// Empty reports whether there is no directory, or nothing in it but a claim,
// whole or half-written: nothing that could be lost.
func Empty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	return !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return !strings.HasPrefix(e.Name(), targets.ClaimFile) }), err
}

// New claims an existing directory. The record is durable before the file.
func New(record, dir string) (Claim, error) {
	c := Claim{Dir: dir, Token: rand.Text(), record: record}
	if err := c.save(); err != nil {
		return c, err
	}
	return c, writeFile(filepath.Join(dir, targets.ClaimFile), []byte(c.Token), 0o600)
}

// Started records the server that the restore started in the directory.
func (c *Claim) Started(s servers.Server) error {
	c.Server = s
	return c.save()
}

func (c Claim) save() error {
	b, err := json.Marshal(c)
	if err != nil {
		return fail.New(fail.Internal, "restore: claim", c.Dir, "", err)
	}
	return writeFile(c.record, b, 0o600)
}

// End gives the directory up: what is in it is not the restore's to remove.
func (c Claim) End() error {
	if c.record == "" {
		return nil // there was no claim
	}
	for _, path := range []string{filepath.Join(c.Dir, targets.ClaimFile), c.record} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fail.FromOS("remove", path, err)
		}
	}
	return nil
}

// writeFile replaces a file of drctl's own, durably.
func writeFile(path string, content []byte, mode os.FileMode) error {
	return fail.FromOS("write", path, atomicfile.Write(path, content, mode))
}
