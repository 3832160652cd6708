package servers

import (
	"context"

	"drctl/targets"
)

// ProgramSpec describes a program of drctl's own that runs beside servers.
type ProgramSpec struct {
	Name string
	Kind targets.Kind
	Dir  string // where it works; its log is Dir + ".log"
	Path string
	Args []string
	// Ready reports whether it does its work.
	Ready func() bool
}

// StartProgram starts a program as the user of this process, which it outlives, and waits until it is ready.
func (b Binaries) StartProgram(ctx context.Context, s ProgramSpec) (Server, error) {
	return b.start(ctx, launch{name: s.Name, kind: s.Kind, path: s.Path, args: s.Args, dir: s.Dir, logFile: logOf("", s.Dir), detached: true, asSelf: true,
		ready: func() error {
			if !s.Ready() {
				return errNotYet
			}

			return nil
		}})
}
