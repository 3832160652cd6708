package traffictest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Relay is a way to a server that can be cut.
type Relay struct {
	// Address is where it listens.
	Address string

	to    string
	mu    sync.Mutex
	ln    net.Listener
	conns map[net.Conn]bool
	taken map[string]bool // the clients that are connected, by their addresses
}

// NewRelay starts a relay to a server. It ends with the test.
func NewRelay(t testing.TB, to string) *Relay {
	t.Helper()
	r := &Relay{to: to, Address: "127.0.0.1:0", conns: map[net.Conn]bool{}, taken: map[string]bool{}}
	r.Mend(t)
	t.Cleanup(r.Cut)

	return r
}

// Cut ends all connections and refuses new ones.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.ln != nil {
		_ = r.ln.Close()
	}

	r.ln = nil
	for c := range r.conns {
		_ = c.Close()
	}

	clear(r.conns)
}

// Mend takes connections again.
func (r *Relay) Mend(t testing.TB) {
	t.Helper()

	ln, err := net.Listen("tcp", r.Address)
	for end := time.Now().Add(limit); err != nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		ln, err = net.Listen("tcp", r.Address) // a client of somebody else's may have the port for a while
	}

	if err != nil {
		t.Fatal(err)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	r.ln, r.Address = ln, ln.Addr().String()

	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}

			r.mu.Lock()
			r.taken[c.RemoteAddr().String()] = true
			r.mu.Unlock()

			go r.pass(ln, c)
		}
	}()
}

// Idle waits until nobody is connected: a server ends a connection of its own after it
// did what a client had sent that is gone. It looks for a while, because those who sent
// it past the relay are done then as well.
func (r *Relay) Idle() {
	r.reached()

	for still := 0; still < 5; still++ {
		time.Sleep(10 * time.Millisecond)
		r.mu.Lock()

		if len(r.taken) > 0 {
			still = -1
		}

		r.mu.Unlock()
	}
}

// reached waits until the relay has taken everybody who came before.
func (r *Relay) reached() {
	c, err := net.Dial("tcp", r.Address)
	if err != nil {
		return // it is cut
	}
	defer c.Close()

	mine := false
	for end := time.Now().Add(limit); !mine && time.Now().Before(end); time.Sleep(time.Millisecond) {
		r.mu.Lock()
		mine = r.taken[c.LocalAddr().String()] || r.ln == nil
		r.mu.Unlock()
	}
}

func (r *Relay) pass(ln net.Listener, c net.Conn) {
	defer func() {
		_ = c.Close()

		r.mu.Lock()
		delete(r.taken, c.RemoteAddr().String())
		r.mu.Unlock()
	}()

	s, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer s.Close()

	r.mu.Lock()

	if r.ln != ln { // it was cut meanwhile
		r.mu.Unlock()
		return
	}

	r.conns[c], r.conns[s] = true, true
	r.mu.Unlock()

	done := make(chan struct{}, 2)
	for _, d := range [][2]net.Conn{{c, s}, {s, c}} {
		go func() {
			_, _ = io.Copy(d[0], d[1])
			_ = d[0].(*net.TCPConn).CloseWrite()

			done <- struct{}{}
		}()
	}

	<-done
	<-done

	r.mu.Lock()
	delete(r.conns, c)
	delete(r.conns, s)
	r.mu.Unlock()
}
