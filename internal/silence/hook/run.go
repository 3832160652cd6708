package hook

import (
	"bytes"
	"os/exec"
	"strings"
	"syscall"
)

// limited keeps the first part of an output and swallows the rest.
type limited struct{ b *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.b.Write(p[:min(len(p), max(0, maxOutput-l.b.Len()))])
	return len(p), nil
}

// killGroup ends a hook and all that it has started.
func killGroup(c *exec.Cmd) error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }

// tail is the end of an output, for an error.
func tail(b []byte) string {
	s := strings.TrimSpace(string(b[max(0, len(b)-500):]))

	return strings.ToValidUTF8(s, "?")
}
