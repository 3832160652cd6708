package delay

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"drctl/internal/fail"
)

// State is what a line does to what goes over it. The zero State hands everything on at once.
type State struct {
	// CutToServer and CutToClient keep back what goes that way, its end too. A connection
	// that is made needs both.
	CutToServer bool
	CutToClient bool
	// RoundTrip is how much longer a round trip takes.
	RoundTrip time.Duration
	// Loss is the share of pieces that get lost, 0 to 1. TCP sends them again: the connection stalls, and
	// is reset when a piece was lost three times.
	Loss float64
}

// Proxy is a proxy in front of one server.
type Proxy struct {
	to string
	l  net.Listener
	wg sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool // nil once closed
	state   State
	changed chan struct{} // closed when the state changes
	closed  bool
}

// Listen starts a proxy in front of a server on an address of this host ("127.0.0.1:0" for any port). A
// round trip takes so much longer through it.
func Listen(address, to string, roundTrip time.Duration) (*Proxy, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fail.New(fail.Unavailable, "delay: listen", address, "name a free port of this host", err)
	}

	p := &Proxy{to: to, l: l, conns: map[net.Conn]bool{}, state: State{RoundTrip: roundTrip}, changed: make(chan struct{})}
	p.wg.Go(p.accept)

	return p, nil
}

// Address is where it listens.
func (p *Proxy) Address() string { return p.l.Addr().String() }

// Set says what the line does from now on. What was sent over a line that was cut comes when it is mended.
func (p *Proxy) Set(s State) {
	p.change(func(old *State) { *old = s })
}

// Cut cuts the line. Nothing comes through either way, connections stay open and hear
// nothing, and who connects waits: what was sent comes when the line is mended.
func (p *Proxy) Cut() { p.change(func(s *State) { s.CutToServer, s.CutToClient = true, true }) }

// Mend makes a line whole that was cut.
func (p *Proxy) Mend() { p.change(func(s *State) { s.CutToServer, s.CutToClient = false, false }) }

func (p *Proxy) change(f func(*State)) {
	p.mu.Lock()
	defer p.mu.Unlock()

	f(&p.state)
	close(p.changed)
	p.changed = make(chan struct{})
}

// way is a direction over a line.
type way int

const (
	toServer way = 1 << iota
	toClient
)

func (s State) cut(w way) bool {
	return w&toServer != 0 && s.CutToServer || w&toClient != 0 && s.CutToClient
}

// pass waits until nothing cuts the ways; false when the proxy is closed.
func (p *Proxy) pass(w way) bool {
	for {
		p.mu.Lock()
		cut, closed, changed := p.state.cut(w), p.closed, p.changed
		p.mu.Unlock()

		if closed || !cut {
			return !closed
		}

		<-changed
	}
}

// rest sleeps; false when the proxy is closed meanwhile.
func (p *Proxy) rest(until time.Time) bool {
	for {
		p.mu.Lock()
		closed, changed := p.closed, p.changed
		p.mu.Unlock()

		left := time.Until(until)
		if closed || left <= 0 {
			return !closed
		}

		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-changed:
			t.Stop()
		}
	}
}

func (p *Proxy) now() State {
	p.mu.Lock()
	defer p.mu.Unlock()

	return p.state
}

// Close ends it and all connections through it.
func (p *Proxy) Close() {
	_ = p.l.Close() // of no interest any more

	p.change(func(*State) { p.closed = true })
	p.mu.Lock()

	for c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
	p.mu.Unlock()

	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		c, err := p.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}

		if err != nil {
			time.Sleep(10 * time.Millisecond) // no descriptors, say
			continue
		}

		p.wg.Go(func() { p.serve(c) })
	}
}

// keep remembers a connection; false when the proxy is closed.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.conns == nil {
		_ = c.Close()
		return false
	}
	p.conns[c] = true

	return true
}

func (p *Proxy) forget(c net.Conn) {
	_ = c.Close()

	p.mu.Lock()
	defer p.mu.Unlock()

	delete(p.conns, c)
}

func (p *Proxy) serve(client net.Conn) {
	if !p.keep(client) {
		return
	}
	defer p.forget(client)

	// The handshake goes both ways.
	if !p.rest(time.Now().Add(p.now().RoundTrip)) || !p.pass(toServer|toClient) {
		return
	}

	if !p.survives() {
		reset(client)
		return
	}

	server, err := net.Dial("tcp", p.to)
	if err != nil || !p.keep(server) {
		return
	}
	defer p.forget(server)

	var wg sync.WaitGroup
	wg.Go(func() { p.carry(server, client, toServer) })
	wg.Go(func() { p.carry(client, server, toClient) })
	wg.Wait()
}

// parcel is what came at once.
type parcel struct {
	due  time.Time
	data []byte
}

// carry hands on what comes, each part when it is due, and then the end.
func (p *Proxy) carry(to, from net.Conn, w way) {
	line := make(chan parcel, 4096)

	go func() {
		defer close(line)

		buf := make([]byte, 32<<10)

		for p.pass(w) { // who sends over a line that is cut fills his buffers, and waits
			n, err := from.Read(buf)

			if n > 0 {
				line <- parcel{time.Now().Add(p.now().RoundTrip / 2), slices.Clone(buf[:n])}
			}

			if err != nil {
				return
			}
		}
	}()

	for x := range line {
		if p.rest(x.due) && p.survives() && p.pass(w) {
			if _, err := to.Write(x.data); err == nil {
				continue
			}
			_ = from.Close() // and so the reader ends
		} else {
			reset(from)
			reset(to)
		}

		for range line { // what is on its way is lost
		}

		return
	}

	p.pass(w)

	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite() // the other direction may go on
	}
}

// reset ends a connection as one that the other side gave up.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
