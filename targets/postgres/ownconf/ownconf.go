package ownconf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"drctl/internal/fail"
	"drctl/internal/servers"
)

const (
	op     = "restore"
	suffix = ".source"
	auto   = "postgresql.auto.conf"
)

// files are replaced while the server recovers.
var files = []string{"postgresql.conf", auto, "pg_hba.conf", "pg_ident.conf"}

// Keep sets the source's own configuration aside.
func Keep(dir string) error {
	for _, name := range files {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path + suffix); err == nil {
			continue // set aside by an attempt before
		}

		if err := os.Rename(path, path+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fail.FromOS(op, path, err)
		}
	}

	return nil
}

// PutBack makes the directory ready to start as what it was. Without a
// configuration of its own (it may live elsewhere, as on Debian) the server gets an
// empty one, which means defaults; the names of those files are returned.
func PutBack(tools servers.Binaries, dir string) (made []string, err error) {
	for _, name := range []string{"drctl.conf", "drctl_hba.conf"} { // what the start may have written
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fail.FromOS(op, dir, err)
		}
	}

	for _, name := range files {
		path := filepath.Join(dir, name)

		err := os.Rename(path+suffix, path)
		if errors.Is(err, fs.ErrNotExist) {
			content := "# The base held no " + name + ".\n"
			if name == "pg_hba.conf" {
				content += "local all all peer\n"
			}
			err = write(tools, path, []byte(content))
			made = append(made, name)
		}

		if err != nil {
			return nil, fail.FromOS(op, path, err)
		}
	}

	return made, nil
}

func write(tools servers.Binaries, path string, content []byte) error {
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}

	return tools.RunAs.Own(path)
}
