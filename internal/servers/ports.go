package servers

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"

	"drctl/internal/fail"
)

// FreePort returns a free TCP port on loopback. Somebody else may take it
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
		var l net.Listener
		if l, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fail.New(fail.Exhausted, "find a free port", "127.0.0.1", "stop servers that are not needed", err)
}
