package ui

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
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

	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(w, program+": interrupted")
		return 130
	}

	var exit Exit
	if errors.As(err, &exit) {
		if exit.Message != "" {
			fmt.Fprintln(w, program+": "+exit.Message)
		}

		return exit.Code
	}

	// Everything of ours is a fail.Error: what remains is cobra's own complaint
	// about flags and arguments.
	var fe *fail.Error
	if !errors.As(err, &fe) {
		fmt.Fprintf(w, "%s: %v\n", program, err)
		return 2
	}
	asJSON, _ := root.PersistentFlags().GetBool("json") // no such flag: false
	PrintError(w, program, asJSON, err)

	return fail.ExitCode(err)
}
