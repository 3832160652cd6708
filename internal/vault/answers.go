package vault

import (
	"context"
	"fmt"

	"drctl/internal/fail"
)

// Answers reports whether a vault that was opened earlier is still there and
// still the same one: one small object is read.
func (v *Vault) Answers(ctx context.Context) error {
	d, err := v.describe(ctx)
	if err != nil {
		return err
	}

	if d.Set != v.set {
		return fail.New(fail.Conflict, "vault: open", v.store.URL(), "", fmt.Errorf("another vault has taken its place: it belongs to set %s, not to %s", d.Set, v.set))
	}

	return nil
}
