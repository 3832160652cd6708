package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/config"
	"drctl/internal/report/evidence"
	"drctl/internal/vault"
)

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version, and those of the formats that it reads and writes",
		RunE: func(*cobra.Command, []string) error {
			v := answer.Version{Version: version, Commit: commit, Go: runtime.Version(), Config: config.FileVersion,
				Vault: vault.FormatVersion, Evidence: evidence.Version, JSON: answer.JSON}
			if a.json {
				return a.printJSON(v)
			}
			_, err := fmt.Fprintf(a.out, "drctl %s (%s), %s\nformats: configuration %d, vault %d, drill record %s, JSON %d\n",
				v.Version, v.Commit, v.Go, v.Config, v.Vault, v.Evidence, v.JSON)
			return err
		},
	}
}
