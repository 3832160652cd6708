package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

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

// mistake is one thing wrong with the configuration, as JSON. Line and Column
// count from 1 and are 0 when the mistake has no place.
type mistake struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// validated is the outcome of config validate as JSON.
type validated struct {
	Format   int       `json:"format"`
	OK       bool      `json:"ok"`
	File     string    `json:"file,omitempty"`
	Hash     string    `json:"hash,omitempty"`
	Problems []mistake `json:"problems"`
	Warnings []mistake `json:"warnings"`
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
		if err := a.printJSON(validated{Format: 1, Problems: mistakesOf(err), Warnings: []mistake{}}); err != nil {
			return err
		}

		return ui.Exit{Code: fail.ExitCode(err)}
	}

	if quiet {
		return nil
	}

	return a.printJSON(validated{Format: 1, OK: true, File: cfg.File(), Hash: cfg.Hash(),
		Problems: []mistake{}, Warnings: mistakes(cfg.Warnings())})
}

// mistakesOf lists what is wrong with a file that cannot be used; one that
// cannot even be read is one mistake without a place.
func mistakesOf(err error) []mistake {
	var all config.Errors
	if errors.As(err, &all) {
		return mistakes(all)
	}
	m := mistake{Message: err.Error()}

	var fe *fail.Error
	if errors.As(err, &fe) {
		m.File, m.Hint = fe.Subject, fe.Hint
		if fe.Err != nil {
			m.Message = fe.Err.Error()
		}
	}

	return []mistake{m}
}

func mistakes(ms []config.Mistake) []mistake {
	out := []mistake{}
	for _, m := range ms {
		out = append(out, mistake{File: m.File, Line: m.Line, Column: m.Col, Path: m.Path, Message: m.Message, Hint: m.Hint})
	}

	return out
}
