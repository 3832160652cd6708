package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/ui"
)

func (a *app) configCmd() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check and print the configuration"}
	var connect bool
	var region string
	validate := &cobra.Command{
		Use: "validate", Short: "Report every mistake in the file at once; with --connect of the platform too", Args: cobra.NoArgs,
		Long: `Reports every mistake in the file at once.

With --connect it asks what the file names as well: programs, secrets, the key,
the engine, every vault and every instance, with every right that a user lacks
and the statement that grants it, all in one run. It changes nothing on the
platform; in each vault it writes one small object and removes it.

Exit status: 0 all is well, 2 the file is wrong, 4 something is to be mended.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !connect && region != "" {
				return fail.New(fail.Invalid, "flags", "--region", "add --connect", errors.New("the file is checked as a whole"))
			}
			if err := a.validate(connect); err != nil || !connect {
				return err
			}
			return a.connect(cmd.Context(), region)
		},
	}
	validate.Flags().BoolVar(&connect, "connect", false, "ask the platform too: programs, secrets, key, engine, vaults, instances and every right")
	validate.Flags().StringVar(&region, "region", "", "with --connect: only what a worker of this region needs (default: everything)")
	show := &cobra.Command{
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
		},
	}
	example := &cobra.Command{
		Use: "example", Short: "Print an annotated file to begin with", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := a.out.Write(config.Example())
			return err
		},
	}
	schema := &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of the file, for editors", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b, err := config.Schema()
			if err == nil {
				_, err = a.out.Write(append(b, '\n'))
			}
			return err
		},
	}
	c.AddCommand(validate, show, example, schema)

	return c
}

// validate says whether the file is right; quiet leaves that to what follows.
func (a *app) validate(quiet bool) error {
	if !a.json {
		cfg, err := a.loadQuietly()
		if err == nil && !quiet {
			a.warn(cfg)
			fmt.Fprintf(a.out, "%s: valid\n", cfg.File())
		}

		return err
	}

	cfg, err := a.loadQuietly()
	if err != nil {
		if err := a.printJSON(answer.Validated{Format: 1, Problems: answer.MistakesOf(err), Warnings: []answer.Mistake{}}); err != nil {
			return err
		}

		return ui.Exit{Code: fail.ExitCode(err)}
	}

	if quiet {
		return nil
	}

	return a.printJSON(answer.Validated{Format: 1, OK: true, File: cfg.File(), Hash: cfg.Hash(),
		Problems: []answer.Mistake{}, Warnings: answer.Mistakes(cfg.Warnings())})
}
