package proc

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// spawner is one goroutine on one thread that never ends: the kernel sends a
// child's parent-death signal when the thread that started it ends, and Go
// ends threads of its own accord.
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// Start starts cmd from a thread that lives as long as this process, so that
// its SysProcAttr.Pdeathsig is sent when this process ends and not before.
func Start(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	spawner() <- func() { done <- cmd.Start() }
	return <-done
}

// StartChild starts cmd in a process group of its own, so that an interrupt at
// the terminal is this process's to pass on, and lets the kernel kill it when
// this process dies.
func StartChild(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return Start(cmd)
}
