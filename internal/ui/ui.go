package ui

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"drctl/internal/fail"
	"drctl/internal/progress"
)

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Style is how text on w is coloured.
func Style(w io.Writer, noColor bool) progress.Style {
	return progress.Style{NoColor: noColor || !IsTerminal(w)}
}

// PrintJSON prints v, indented.
func PrintJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)

	return e.Encode(v)
}

// PrintError prints what failed, on what, why and what to do next: a line that
// begins with the program's name, or one JSON object.
func PrintError(w io.Writer, program string, asJSON bool, err error) {
	if !asJSON {
		fmt.Fprintf(w, "%s: %v\n", program, err)
		return
	}
	out := map[string]string{"error": err.Error(), "code": string(fail.CodeOf(err))}

	var fe *fail.Error
	if errors.As(err, &fe) {
		out["op"], out["subject"], out["hint"] = fe.Op, fe.Subject, fe.Hint
	}
	b, _ := json.Marshal(out)
	fmt.Fprintln(w, string(b))
}

// NoStrays makes a mistyped subcommand of root's commands wrong usage. Without
// it cobra shows help and reports success.
func NoStrays(root *cobra.Command) {
	for _, c := range root.Commands() {
		if c.HasSubCommands() && c.RunE == nil {
			c.Args = cobra.NoArgs
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}
