package servers

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"drctl/internal/fail"
)

// reserved is how long a port that was chosen is chosen by no other process.
const reserved = time.Minute

// FreePort returns a free TCP port on loopback. For a minute no process of drctl
// in this network namespace is given it again; somebody else may still take it
// before it is used: callers that start servers try again.
//
// Ports are taken from below the range that the kernel gives to outgoing
// connections, so that a server that is started again finds its own.
func FreePort() (int, error) { return Binaries{}.FreePort() }

// FreePort is FreePort, but for the ports that are Taken.
func (b Binaries) FreePort() (int, error) {
	const first, last = 14000, 31999

	var err error
	for range 500 {
		port := first + rand.IntN(last-first+1)
		if slices.Contains(b.Taken, port) {
			continue
		}

		// A name in the kernel that goes with the process: no file to be left.
		name, taken := net.Listen("unix", fmt.Sprintf("@drctl-port-%d", port))
		if taken != nil {
			continue
		}

		var l net.Listener
		if l, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			time.AfterFunc(reserved, func() { _ = name.Close() })
			return port, l.Close()
		}

		_ = name.Close()
	}

	return 0, fail.New(fail.Exhausted, "find a free port", "127.0.0.1", "stop servers that are not needed", err)
}
