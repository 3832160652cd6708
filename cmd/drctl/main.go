// Command drctl takes consistent recovery points of a sharded platform, proves
// that they can be recovered, and recovers them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"drctl/internal/fail"
)

// Set by the linker.
var (
	version = "dev"
	commit  = "unknown"
)

func main() { os.Exit(run()) }

func run() int {
	// The first signal cancels, and every command cleans up behind itself; a
	// second one ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop()
	}()
	a := newApp(os.Stdout, os.Stderr)
	err := a.root().ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "drctl: interrupted")
		return 130
	}
	var ec exitCode
	if errors.As(err, &ec) {
		if ec.message != "" {
			fmt.Fprintln(os.Stderr, "drctl: "+ec.message)
		}
		return ec.code
	}
	var fe *fail.Error
	if !errors.As(err, &fe) {
		// Everything of ours is a fail.Error: what remains is cobra's own
		// complaint about flags and arguments.
		fmt.Fprintf(os.Stderr, "drctl: %v\n", err)
		return 2
	}
	a.printError(err)
	return fail.ExitCode(err)
}

// exitCode ends the process with a status that is not an error's own: 3 for
// partly done, 4 for a failed check.
type exitCode struct {
	code    int
	message string
}

func (e exitCode) Error() string { return e.message }
