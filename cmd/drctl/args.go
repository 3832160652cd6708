package main

import (
	"errors"

	"github.com/spf13/cobra"

	"drctl/internal/fail"
)

// oneArg wants exactly one argument, and says which.
func oneArg(what, usage string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		why := "it is missing"
		if len(args) > 1 {
			why = "there is more than one"
		}
		return fail.New(fail.Invalid, "usage", "", "name "+what+": "+usage, errors.New(why))
	}
}
