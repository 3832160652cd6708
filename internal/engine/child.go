package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os/exec"
	"time"

	"drctl/internal/fail"
	"drctl/internal/supervise"
)

// Child is the embedded engine as a child of a supervisor, which then restarts
// it and learns its address. It keeps its port from run to run if it can.
func Child(name string, o EmbeddedOptions) supervise.Child {
	return supervise.Child{
		Name:        name,
		Command:     func(func(string) string) (*exec.Cmd, error) { return exec.Command(o.Bin, o.Args()...), nil },
		StopTimeout: 15 * time.Second,
		ReadyLine: func(line string) (bool, string, error) {
			m, err := parseReady(line)
			if err != nil || m == nil {
				return false, "", err
			}
			return true, m.Address, nil
		},
		Health: func(ctx context.Context, address string) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			return conn.Close()
		},
	}
}

// readyLine is what drctl-engine says first.
type readyLine struct {
	Address, Namespace string
	Error              *struct{ Code, Op, Subject, Message, Hint string }
}

// parseReady understands a line of drctl-engine; nil when it is no such line.
func parseReady(line string) (*readyLine, error) {
	var m readyLine
	if json.Unmarshal([]byte(line), &m) != nil || m.Error == nil && m.Address == "" {
		return nil, nil
	}
	if e := m.Error; e != nil {
		return nil, fail.New(fail.Code(e.Code), e.Op, e.Subject, e.Hint, errors.New(e.Message))
	}
	return &m, nil
}
