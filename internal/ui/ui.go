package ui

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

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

// PrintJSON prints v, indented, with [] for every list that is empty.
func PrintJSON(w io.Writer, v any) error { return PrintExact(w, withLists(v)) }

// PrintExact prints v, indented, just as it is: of a value that has a hash.
func PrintExact(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)

	return e.Encode(v)
}

// Failure is how an error is printed as JSON.
type Failure struct {
	Error string `json:"error"` // all of it in a line, as it is printed as text
	// Code is the kind of the failure: invalid, unsupported, not-found, conflict,
	// unavailable, corrupt, stalled, denied, unverified, exhausted or internal; of a
	// command that says itself how it went failed, partial or unverified; interrupted.
	Code    string `json:"code"`
	Op      string `json:"op"`      // what was being done; empty when nothing says so
	Subject string `json:"subject"` // on what
	Hint    string `json:"hint"`    // what to do next
}

// PrintError prints what failed, on what, why and what to do next: a line that
// begins with the program's name, or one JSON object, a Failure.
func PrintError(w io.Writer, program string, asJSON bool, err error) {
	f := Failure{Error: err.Error(), Code: string(code(err))}

	var fe *fail.Error
	if errors.As(err, &fe) {
		f.Op, f.Subject, f.Hint = fe.Op, fe.Subject, fe.Hint
	}

	say(w, program, asJSON, f)
}

func say(w io.Writer, program string, asJSON bool, f Failure) {
	if !asJSON {
		fmt.Fprintf(w, "%s: %s\n", program, f.Error)
		return
	}

	b, _ := json.Marshal(f) // texts alone
	fmt.Fprintln(w, string(b))
}
