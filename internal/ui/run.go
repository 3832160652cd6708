package ui

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
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
	asJSON := wantsJSON(cmd.Root(), os.Args[1:])
	tell := func(_ slog.Level, f Failure) { say(w, program, asJSON, f) }
	fails := func(err error) { PrintError(w, program, asJSON, err) }

	if log := recorder(cmd.Root(), w); log != nil {
		tell = func(level slog.Level, f Failure) { log.Log(ctx, level, f.Error) }
		fails = func(err error) {
			log.ErrorContext(ctx, cmd.CommandPath()+" failed", logs.Err, err, logs.Code, string(code(err)))
		}
	}

	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		tell(slog.LevelInfo, Failure{Error: "interrupted", Code: "interrupted"})
		return 130
	}

	var exit Exit
	if errors.As(err, &exit) {
		if exit.Message != "" {
			tell(slog.LevelError, Failure{Error: exit.Message, Code: exitCodes[exit.Code]})
		}

		return exit.Code
	}

	fails(err)

	// Everything of ours is a fail.Error: what remains is cobra's own complaint
	// about flags and arguments.
	var fe *fail.Error
	if !errors.As(err, &fe) {
		return 2
	}

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
