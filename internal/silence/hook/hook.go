package hook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/internal/silence"
	"drctl/internal/trust"
)

// maxOutput bounds what is kept of a hook's output, in bytes.
const maxOutput = 64 << 10

// Fence is a fencing hook: a program that cuts a server off from power or network.
// It is run without a shell, with an environment of its own, and has succeeded
// when it ends with 0 within the limit.
type Fence struct {
	Name string
	// Command is the program, with an absolute path, and its arguments.
	Command []string
	Limit   time.Duration
}

// Run fences one server and returns the proof, not signed. What the hook gets is
// in DRCTL_GROUP, DRCTL_SHARD, DRCTL_INSTANCE and DRCTL_EPOCH.
func (f Fence) Run(ctx context.Context, p silence.Proof, now func() time.Time) (silence.Proof, error) {
	const op = "fencing hook"
	if len(f.Command) == 0 || !filepath.IsAbs(f.Command[0]) || f.Limit <= 0 {
		return p, fail.New(fail.Invalid, op, f.Name, "name the program with its whole path, and a limit", nil)
	}

	if err := trust.Program(op, f.Command[0]); err != nil {
		return p, err
	}

	ctx, cancel := context.WithTimeout(ctx, f.Limit)
	defer cancel()

	var out bytes.Buffer
	c := exec.Command(f.Command[0], f.Command[1:]...)
	c.Env = []string{
		"PATH=" + os.Getenv("PATH"), "DRCTL_GROUP=" + p.Group, "DRCTL_SHARD=" + p.Shard.String(), "DRCTL_INSTANCE=" + p.Instance,
		"DRCTL_EPOCH=" + strconv.FormatUint(p.Epoch, 10),
	}
	c.Stdout = &limited{&out}
	c.Stderr = c.Stdout
	c.WaitDelay = time.Second // a child that holds the pipe open

	if err := proc.StartChild(c); err != nil {
		return p, fail.FromOS(op, f.Command[0], err)
	}

	done := make(chan error, 1)
	go func() { done <- c.Wait() }()

	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = errors.Join(errors.New("it did not end in time"), killGroup(c))

		<-done
	}

	if err != nil {
		return p, fail.New(fail.Unavailable, op, f.Name, "the server may still write: fence it in another way", errors.Join(err, errors.New(tail(out.Bytes()))))
	}
	sum := sha256.Sum256(out.Bytes())
	p.Kind, p.Since = silence.Hook, now().UTC()
	p.Hook = &silence.HookEvidence{Name: f.Name, Output: hex.EncodeToString(sum[:])}

	return p, nil
}
