package configured

import (
	"errors"
	"os"
	"path/filepath"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/vault"
)

// NewKey makes a key in a file, for its owner alone, unless the file exists.
func NewKey(path string) (made bool, err error) {
	if _, err := os.Stat(path); err == nil {
		return false, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return false, fail.New(fail.Denied, "vault init", path, "the key's file must be readable by the user of drctl", err)
	}

	k, err := vault.GenerateKey()
	if err != nil {
		return false, err
	}

	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, fail.FromOS("vault init", path, err)
	}
	// Create: a key that another process has just made must not be lost, and
	// half a key must not be taken for one.
	err = atomicfile.Create(path, filepath.Dir(path), 0o600, func(f *os.File) error {
		_, err := f.WriteString("# recipient: " + k.Recipient() + "\n" + k.Secret().Reveal() + "\n")
		return err
	})
	if err != nil {
		return false, fail.FromOS("vault init", path, err)
	}

	return true, nil
}
