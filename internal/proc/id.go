package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"drctl/internal/fail"
)

// ID names one process for ever: the kernel gives a process id again, but never
// with the same start time. The zero ID is no process.
type ID struct {
	Pid int `json:"pid"`
	// Start is the start time in clock ticks since boot.
	Start uint64 `json:"start"`
}

// Of returns the identity of the process that has this id now. Not-found when
// there is none, or when it has ended and only waits for its parent.
func Of(pid int) (ID, error) {
	const op = "process: look up"
	st, err := readStat(pid)
	if err != nil {
		return ID{}, fail.New(fail.NotFound, op, strconv.Itoa(pid), "", err)
	}
	if st.state == 'Z' {
		return ID{}, fail.Newf(fail.NotFound, op, strconv.Itoa(pid), "it has ended")
	}
	return ID{Pid: pid, Start: st.start}, nil
}

// Self is the identity of this process.
func Self() (ID, error) { return Of(os.Getpid()) }

// Alive reports whether this very process still runs.
func (p ID) Alive() bool {
	if p.Pid <= 0 {
		return false
	}
	st, err := readStat(p.Pid)
	return err == nil && st.start == p.Start && st.state != 'Z'
}

// Signal sends a signal to this very process, never to another that took its
// id: a handle pins the process before its start time is compared. A process
// that is gone is os.ErrProcessDone.
func (p ID) Signal(s syscall.Signal) error {
	if p.Pid <= 1 {
		return os.ErrProcessDone
	}

	fd, err := unix.PidfdOpen(p.Pid, 0)
	switch {
	case errors.Is(err, syscall.ESRCH):
		return os.ErrProcessDone
	case err != nil: // a kernel without handles
		if !p.Alive() {
			return os.ErrProcessDone
		}
		return syscall.Kill(p.Pid, s)
	}
	defer func() { _ = unix.Close(fd) }()

	if !p.Alive() {
		return os.ErrProcessDone
	}
	if err := unix.PidfdSendSignal(fd, s, nil, 0); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return os.ErrProcessDone
}

// String names the process.
func (p ID) String() string { return fmt.Sprintf("pid %d", p.Pid) }

// stat is what the kernel says of a process.
type stat struct {
	state byte // 'Z' has ended
	ppid  int
	start uint64
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}

	// The name in brackets may hold anything, so fields are counted from the last bracket.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return stat{}, fmt.Errorf("/proc/%d/stat is too short", pid)
	}
	ppid, err1 := strconv.Atoi(f[1])
	start, err2 := strconv.ParseUint(f[19], 10, 64)
	return stat{state: f[0][0], ppid: ppid, start: start}, errors.Join(err1, err2)
}
