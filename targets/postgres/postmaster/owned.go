package postmaster

import (
	"os"
	"path/filepath"

	"drctl/internal/fail"
)

// WriteOwned writes a file that belongs to the owner of its directory.
func WriteOwned(path string, content []byte) error {
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return fail.FromOS("write", path, err)
	}

	if os.Geteuid() != 0 {
		return nil
	}

	uid, gid, err := Owner(filepath.Dir(path))
	if err == nil {
		err = os.Chown(path, uid, gid)
	}

	if err != nil {
		return fail.FromOS("chown", path, err)
	}

	return nil
}
