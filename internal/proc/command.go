package proc

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"drctl/internal/fail"
)

// outputWithin is how long a command's output is waited for once it has ended: a server that
// it has started may hold its pipes.
const outputWithin = 2 * time.Second

// Command runs a program of the platform's own with its arguments. Unavailable: it failed,
// with the end of what it said.
func Command(ctx context.Context, op, subject string, line []string) error {
	c := exec.CommandContext(ctx, line[0], line[1:]...)
	c.WaitDelay = outputWithin

	out, err := c.CombinedOutput()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}

	return fail.New(fail.Unavailable, op, subject, "see what the command says", fmt.Errorf("%s: %w: %.500s", line[0], err, strings.TrimSpace(string(out))))
}
