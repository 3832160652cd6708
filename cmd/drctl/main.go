// Command drctl takes consistent recovery points of a sharded platform, proves
// that they can be recovered, and recovers them.
package main

import (
	"os"

	"drctl/internal/ui"
)

// Set by the linker.
var (
	version = "dev"
	commit  = "unknown"
)

func main() { os.Exit(run()) }

func run() int { return ui.Run(newApp(os.Stdout, os.Stderr).root()) }
