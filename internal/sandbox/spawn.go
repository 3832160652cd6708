package sandbox

import (
	"os/exec"
	"runtime"
)

// spawner is one goroutine on one thread that never ends: the kernel sends a
// child's parent-death signal when the *thread* that started it ends, and Go
// ends threads of its own accord.
var spawner = func() chan<- func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range c {
			f()
		}
	}()
	return c
}()

func startLocked(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	spawner <- func() { done <- cmd.Start() }
	return <-done
}
