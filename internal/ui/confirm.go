package ui

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"drctl/internal/fail"
)

// Confirm asks on w for the name of what a dangerous act is about, and reads it
// from standard input. Where nobody is there to answer it is wrong usage.
func Confirm(w io.Writer, op, what, name string) error {
	if !IsTerminal(os.Stdin) {
		return fail.New(fail.Invalid, op, name, "add --yes", errors.New("nobody is there to confirm"))
	}

	fmt.Fprintf(w, "Type the %s's name (%s) to go on: ", what, name)

	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if strings.TrimSpace(line) != name {
		return Exit{Code: 1, Message: "not confirmed; nothing was done"}
	}

	return nil
}
