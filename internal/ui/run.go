package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"drctl/internal/fail"
	"drctl/internal/logs"
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
// Errors are printed to root's error output: as log records when root has a flag
// "log-format" that is json, else as JSON when it has a flag "json" that is set.
func Run(root *cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	go func() {
		<-ctx.Done()
		stop()
	}()

	cmd, err := root.ExecuteContextC(ctx)

	return status(ctx, cmd, err)
}

// status prints how the command ended and returns the exit status for it.
func status(ctx context.Context, cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}

	w, program := cmd.Root().ErrOrStderr(), cmd.Root().Name()
	say := func(level slog.Level, text string) { fmt.Fprintln(w, program+": "+text) }
	fails := func(asJSON bool, err error) { PrintError(w, program, asJSON, err) }

	if log := recorder(cmd.Root(), w); log != nil {
		say = func(level slog.Level, text string) { log.Log(ctx, level, text) }
		fails = func(_ bool, err error) {
			log.ErrorContext(ctx, cmd.CommandPath()+" failed", logs.Err, err, logs.Code, string(code(err)))
		}
	}

	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		say(slog.LevelInfo, "interrupted")
		return 130
	}

	var exit Exit
	if errors.As(err, &exit) {
		if exit.Message != "" {
			say(slog.LevelError, exit.Message)
		}

		return exit.Code
	}

	// Everything of ours is a fail.Error: what remains is cobra's own complaint
	// about flags and arguments.
	var fe *fail.Error
	if !errors.As(err, &fe) {
		fails(false, err)
		return 2
	}

	asJSON, _ := cmd.Root().PersistentFlags().GetBool("json") // no such flag: false
	fails(asJSON, err)

	return fail.ExitCode(err)
}

// code is the code of an error; cobra's own complaints have none.
func code(err error) fail.Code {
	var fe *fail.Error
	if errors.As(err, &fe) {
		return fe.Code
	}

	return fail.Invalid
}

// recorder is a log for what ends the program; nil when it is told as text.
func recorder(root *cobra.Command, w io.Writer) *slog.Logger {
	if f, _ := root.PersistentFlags().GetString("log-format"); f != logs.JSON { // no such flag: ""
		return nil
	}
	log, _ := logs.New(w, logs.JSON, "info")

	return log
}
