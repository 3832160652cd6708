package ui

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"drctl/internal/fail"
)

// Exit is an error that ends the program with a status that is not an error's
// own: 3 for partly done, 4 for a failed check. Without a message nothing is
// printed.
type Exit struct {
	Code    int
	Message string
}

func (e Exit) Error() string { return e.Message }

// Run runs root with the program's arguments and returns the exit status. The
// first interrupt or termination signal cancels the command's context, and
// every command cleans up behind itself; a second one ends the process at once.
// Errors are printed to root's error output; as JSON when root has a flag
// "json" that is set.
func Run(root *cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	go func() {
		<-ctx.Done()
		stop()
	}()

	return status(ctx, root, root.ExecuteContext(ctx))
}

// status prints how the command ended and returns the exit status for it.
func status(ctx context.Context, root *cobra.Command, err error) int {
	w, program := root.ErrOrStderr(), root.Name()

	if err == nil {
		return 0
	}

	asJSON := wantsJSON(root, os.Args[1:])
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		say(w, program, asJSON, Failure{Error: "interrupted", Code: "interrupted"})
		return 130
	}

	var exit Exit
	if errors.As(err, &exit) {
		if exit.Message != "" {
			say(w, program, asJSON, Failure{Error: exit.Message, Code: exitCodes[exit.Code]})
		}

		return exit.Code
	}

	// Everything of ours is a fail.Error: what remains is cobra's own complaint
	// about flags and arguments.
	var fe *fail.Error
	if !errors.As(err, &fe) {
		say(w, program, asJSON, Failure{Error: err.Error(), Code: string(fail.Invalid), Op: usage})
		return 2
	}

	PrintError(w, program, asJSON, err)

	return fail.ExitCode(err)
}

// exitCodes are the codes of an Exit, as JSON has them.
var exitCodes = map[int]string{1: "failed", 2: string(fail.Invalid), 3: "partial", 4: string(fail.Unverified)}

// wantsJSON reports whether the flag json is set; a mistake among the flags may
// have kept it from being read.
func wantsJSON(root *cobra.Command, args []string) bool {
	if set, err := root.PersistentFlags().GetBool("json"); set || err != nil {
		return set
	}

	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}

	return slices.Contains(args, "--json")
}
