package cutview

import (
	"fmt"
	"strings"

	"drctl/internal/human"
	"drctl/internal/moment"
	"drctl/internal/ui"
	"drctl/internal/vault"
	"drctl/targets"
)

// Refused ends a command whose cut could not be proven anew: a verification that failed.
func Refused(cut targets.Cut, from *vault.Vault, r *moment.Report) error {
	return ui.Exit{Code: 4, Message: fmt.Sprintf("verification failed: cut %s is not proven by the vault of %s: %s (do not rely on it; try another region's vault with --vault, and drctl backup verify)",
		cut.ID, from.Region(), human.Clean(strings.Join(r.Faults, "; ")))}
}
