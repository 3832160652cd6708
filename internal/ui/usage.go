package ui

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"drctl/internal/fail"
	"drctl/internal/human"
)

const usage = "usage"

// Strict makes wrong usage of root and its commands an error of ours (fail.Invalid)
// that says what is wrong and what was meant: an unknown command, for which cobra
// would show help and report success below root, an unknown flag, and an argument of
// a command that takes none. Call it when all commands are added.
func Strict(root *cobra.Command) {
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fail.New(fail.Invalid, usage, "", cmp.Or(meantFlag(c, err), help(c)), err)
	})

	strict(root)
}

func strict(c *cobra.Command) {
	for _, sub := range c.Commands() {
		strict(sub)
	}

	switch {
	case c.HasSubCommands() && c.RunE == nil:
		c.Args = unknown
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	case !c.DisableFlagParsing && !strings.Contains(c.Use, " "):
		c.Args = none
	}
}

// help is what shows how a command is used.
func help(c *cobra.Command) string { return "see: " + c.CommandPath() + " --help" }

// unknown refuses what is no command below c.
func unknown(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}

	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}

	return fail.New(fail.Invalid, usage, "", cmp.Or(human.Meant(args[0], names), help(c)), fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath()))
}

// none refuses arguments.
func none(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}

	return fail.New(fail.Invalid, usage, "", help(c), fmt.Errorf("%s takes no argument, and got %q", c.CommandPath(), args[0]))
}

// meantFlag is the flag that was mistyped.
func meantFlag(c *cobra.Command, err error) string {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return ""
	}

	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})

	return human.Meant("--"+unknown.GetSpecifiedName(), names)
}

// OneArg wants exactly one argument. What names it in words, as "a base"; its
// placeholder in the usage, and an example, are those of the command.
func OneArg(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return missing(c, what)
		case 1:
			return nil
		}

		return fail.New(fail.Invalid, usage, "", "write: "+c.CommandPath()+" "+args[0], fmt.Errorf("%s takes one argument, and got %q too", c.CommandPath(), args[1]))
	}
}

// SomeArgs wants at least one argument; see OneArg.
func SomeArgs(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return nil
		}

		return missing(c, what)
	}
}

func missing(c *cobra.Command, what string) error {
	_, placeholder, _ := strings.Cut(c.Use, " ")

	return fail.New(fail.Invalid, usage, placeholder, "name "+what+": "+cmp.Or(c.Example, c.CommandPath()+" "+placeholder), errors.New("it is missing"))
}
