package proc

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// look is how often the context is looked at while the end of a process is waited for, and how often
// the process itself where the kernel has no handles.
const look = 20 * time.Millisecond

// Gone waits until this very process has ended; its parent may not have collected it yet. The kernel says
// so, at once: asking again and again costs time that a server which ends needs itself. The error is the
// context's.
func (p ID) Gone(ctx context.Context) error {
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if err == nil {
		defer func() { _ = unix.Close(fd) }()
	}

	for p.Alive() {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}

		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}

		_, perr := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(look.Milliseconds()))
		if perr != nil && !errors.Is(perr, syscall.EINTR) {
			err = perr
		}
	}

	return nil
}
