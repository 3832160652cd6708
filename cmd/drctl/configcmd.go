package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"drctl/config"
)

func (a *app) configCmd() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check and print the configuration"}
	c.AddCommand(
		&cobra.Command{
			Use: "validate", Short: "Report every mistake in the file at once", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				cfg, err := a.load()
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(map[string]any{"valid": true, "file": cfg.File(), "hash": cfg.Hash()})
				}
				fmt.Fprintf(a.out, "%s: valid\n", cfg.File())
				return nil
			}},
		&cobra.Command{
			Use: "show", Short: "Print the resolved file, secrets redacted", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				cfg, err := a.load()
				if err != nil {
					return err
				}
				show := cfg.Show
				if a.json {
					show = cfg.ShowJSON
				}
				b, err := show()
				if err == nil {
					_, err = a.out.Write(b)
				}
				return err
			}},
		&cobra.Command{
			Use: "schema", Short: "Print the JSON Schema of the file, for editors", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				b, err := config.Schema()
				if err == nil {
					_, err = a.out.Write(append(b, '\n'))
				}
				return err
			}},
	)
	return c
}
