package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"drctl/internal/lab"
	"drctl/internal/lab/lines"
	"drctl/internal/progress"
)

// linesCmd is the process that carries the lines of a lab; drlab up starts it.
func (a *app) linesCmd() *cobra.Command {
	return &cobra.Command{
		Use: "lines", Short: "Carry the lines of the lab, until it is ended", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := a.open()
			if err != nil {
				return err
			}

			return lines.Carry(cmd.Context(), l.LineDir(), l.Lines(), func(s string) {
				fmt.Fprintf(a.out, "%s lines: %s\n", time.Now().UTC().Format(time.RFC3339Nano), s)
			})
		},
	}
}

// printLines prints the lines of a lab, and what is wrong with them.
func (a *app) printLines(l *lab.Lab) error {
	if !l.Lined() {
		return nil
	}

	faults, err := lines.List(l.LineDir())
	if err != nil {
		return err
	}

	var rows [][]string
	for _, x := range l.Lines() {
		rows = append(rows, []string{x.Name(), x.Address(), x.To, lines.Words(x, faults)})
	}

	fmt.Fprintln(a.out)

	return progress.Table(a.out, []string{"LINE", "ADDRESS", "TO", "FAULT"}, rows)
}
