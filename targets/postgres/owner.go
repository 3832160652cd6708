package postgres

import (
	"os"

	"drctl/internal/fail"
)

// mkdir makes a directory of mode 0700 for the server's user.
func (r *restoreRun) mkdir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fail.FromOS(opRestore, path, err)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return fail.FromOS(opRestore, path, err)
	}
	return r.tools.RunAs.Own(path)
}

// writeFile writes a file of mode 0600 for the server's user.
func (r *restoreRun) writeFile(path string, content []byte) error {
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return fail.FromOS(opRestore, path, err)
	}
	return r.tools.RunAs.Own(path)
}
