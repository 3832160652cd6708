package engine

import (
	"context"
	"net"
	"os/exec"
	"time"

	"drctl/internal/engine/lines"
	"drctl/internal/supervise"
)

// Child is the embedded engine as a child of a supervisor, which then restarts
// it and learns its address. It keeps its port from run to run if it can.
func Child(name string, o EmbeddedOptions) supervise.Child {
	return supervise.Child{
		Name:        name,
		Command:     func(func(string) string) (*exec.Cmd, error) { return o.command(), nil },
		Record:      lines.Record,
		StopTimeout: 15 * time.Second,
		ReadyLine:   supervise.ParseReport,
		Health: func(ctx context.Context, address string) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			return conn.Close()
		},
	}
}
