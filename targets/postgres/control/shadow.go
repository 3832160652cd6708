package control

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"drctl/internal/servers"
)

const (
	stateOffset   = 16 // after system id, control version, catalogue version
	stateShutdown = 1
)

// Shadow makes a directory beside the data directory that shares its files
// (hard links), with a control file of its own that says "shut down".
//
// pg_checksums reads only a server at rest. A sandbox after a checkpoint is at
// rest in all but name, and stopping it would change the process that its
// owner has on record.
func Shadow(tools servers.Binaries, dir string) (shadow string, remove func(), err error) {
	shadow, err = os.MkdirTemp(filepath.Dir(dir), ".drctl-checksums-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(shadow) }

	for _, sub := range []string{"global", "base", "pg_tblspc"} {
		if err = linkTree(filepath.Join(dir, sub), filepath.Join(shadow, sub)); err != nil {
			break
		}
	}

	if err == nil {
		err = shutControl(dir, shadow)
	}

	if err == nil {
		err = tools.RunAs.Own(shadow)
	}

	if err != nil {
		remove()
		return "", nil, err
	}

	return shadow, remove, nil
}

func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}

		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}

		dest := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			return os.Mkdir(dest, 0o700)
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}

			return os.Symlink(target, dest)
		case e.Name() == fileName:
			return nil
		}

		return os.Link(path, dest)
	})
}

func shutControl(dir, shadow string) error {
	content, _, err := Read(dir)
	if err != nil {
		return err
	}

	at := crcOf(content)
	if at < 0 {
		return fmt.Errorf("pg_control fails its CRC")
	}

	binary.LittleEndian.PutUint32(content[stateOffset:], stateShutdown)
	binary.LittleEndian.PutUint32(content[at:], crc32.Checksum(content[:at], crc32.MakeTable(crc32.Castagnoli)))

	return os.WriteFile(filepath.Join(shadow, "global", fileName), content, 0o600)
}
