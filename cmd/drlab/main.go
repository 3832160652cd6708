// Command drlab runs a two-region platform on one machine to try drctl on: real
// servers, a shop that sells on them, faults to plant, and a checker that
// compares what was recovered with a journal kept outside the stores.
//
// It is for demonstrations, drills and tests, and is never installed on a host
// of a production platform: it destroys disks on request.
package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"drctl/internal/lab"
	"drctl/internal/servers"
	"drctl/internal/ui"
)

// Set by the linker.
var (
	version = "dev"
	commit  = "unknown"
)

func main() { os.Exit(ui.Run(newApp(os.Stdout, os.Stderr).root())) }

// app is what every command shares: where it prints, and the global flags.
type app struct {
	out, err io.Writer
	dir      string
	json     bool
}

func newApp(out, errw io.Writer) *app { return &app{out: out, err: errw} }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "drlab",
		Short: "A two-region platform on this machine, with traffic and faults",
		Long: `drlab makes a sharded platform in two regions from real servers on this machine,
with a configuration for drctl, lets customers buy on it, plants faults, and
checks what was recovered from outside. It is never for data that matters.

Exit status: 0 done, 1 failed, 2 wrong usage, 4 the recovered shop is not what
the journal says, 130 interrupted.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version + " (" + commit + ")",
	}
	f := root.PersistentFlags()
	f.StringVar(&a.dir, "dir", "lab", "directory of the lab")
	f.BoolVar(&a.json, "json", false, "print JSON")
	root.AddCommand(a.upCmd(), a.downCmd(), a.statusCmd(), a.keepCmd(), a.breakCmd(), a.faultCmd(), a.trafficCmd(), a.compareCmd(), a.farCmd(), a.linesCmd(), a.checkCmd())

	return root
}

// open opens the lab that --dir names.
func (a *app) open() (*lab.Lab, error) {
	tools, err := findTools()
	if err != nil {
		return nil, err
	}

	return lab.Open(a.dir, tools)
}

func findTools() (servers.Binaries, error) { return servers.Find(servers.Binaries{}) }
