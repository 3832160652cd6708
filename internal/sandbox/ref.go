package sandbox

import (
	"fmt"
	"path/filepath"

	"drctl/internal/fail"
	"drctl/targets"
)

// Ref names a sandbox and the task queue of the one host that has it.
type Ref struct {
	ID    string `json:"id"`
	Dir   string `json:"dir"`
	Queue string `json:"queue"`
}

// Check refuses a reference that names no directory of a sandbox; the zero value
// is none. That the directory is a sandbox is for Open to say.
func (r Ref) Check() error {
	if r == (Ref{}) {
		return nil
	}

	err := targets.CheckPath("directory", r.Dir)
	if err == nil && (filepath.Base(r.Dir) != r.ID || !targets.IsName(r.ID)) {
		err = fmt.Errorf("the directory %.80q is not that of sandbox %.80q", r.Dir, r.ID)
	}

	if err != nil {
		return fail.New(fail.Invalid, "sandbox: open", r.ID, "", err)
	}

	return nil
}
