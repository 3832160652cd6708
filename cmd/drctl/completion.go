package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/complete"
	"drctl/config"
	"drctl/internal/vault"
)

// completion is where the shell's completion has its names from. It is silent.
func (a *app) completion() complete.Source {
	quiet := func() *app {
		b := *a
		b.out, b.err, b.logLevel = io.Discard, io.Discard, "error"

		return &b
	}

	return complete.Source{
		Config: func() (*config.Config, error) { return quiet().loadQuietly() },
		Vault: func(ctx context.Context, c *cobra.Command) (*vault.Vault, string, error) {
			text := func(flag string) string {
				s, _ := c.Flags().GetString(flag) // not every command has every flag
				return s
			}
			place := vaultFlags{url: text("vault-url"), endpoint: text("vault-endpoint"), region: text("vault-s3-region"),
				accessKey: text("vault-access-key"), secretFile: text("vault-secret-file"), keyFile: text("key")}

			return quiet().vaultOrPlace(ctx, place, text("group"), text("vault"))
		},
	}
}
