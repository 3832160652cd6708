package delay

import (
	"errors"
	"net"
	"sync"
	"time"

	"drctl/internal/fail"
)

// Proxy is a proxy in front of one server.
type Proxy struct {
	to     string
	oneWay time.Duration
	l      net.Listener
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil once closed
	whole chan struct{}     // closed while the line is whole
}

// Listen starts a proxy in front of a server on an address of this host ("127.0.0.1:0" for any port). A
// round trip takes so much longer through it.
func Listen(address, to string, roundTrip time.Duration) (*Proxy, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fail.New(fail.Unavailable, "delay: listen", address, "name a free port of this host", err)
	}

	p := &Proxy{to: to, oneWay: roundTrip / 2, l: l, conns: map[net.Conn]bool{}, whole: make(chan struct{})}
	close(p.whole)
	p.wg.Go(p.accept)

	return p, nil
}

// Address is where it listens.
func (p *Proxy) Address() string { return p.l.Addr().String() }

// Cut cuts the line. Nothing comes through either way, connections stay open and hear
// nothing, and who connects waits: what was sent comes when the line is mended.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()

	select {
	case <-p.whole:
		p.whole = make(chan struct{})
	default:
	}
}

// Mend makes a line whole that was cut.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()

	select {
	case <-p.whole:
	default:
		close(p.whole)
	}
}

// pass waits until the line is whole.
func (p *Proxy) pass() {
	p.mu.Lock()
	whole := p.whole
	p.mu.Unlock()

	<-whole
}

// Close ends it and all connections through it.
func (p *Proxy) Close() {
	_ = p.l.Close() // of no interest any more

	p.Mend()
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

	time.Sleep(2 * p.oneWay) // the handshake's own round trip
	p.pass()

	server, err := net.Dial("tcp", p.to)
	if err != nil || !p.keep(server) {
		return
	}
	defer p.forget(server)

	var wg sync.WaitGroup
	wg.Go(func() { p.carry(server, client) })
	wg.Go(func() { p.carry(client, server) })
	wg.Wait()
}

// parcel is what came at once.
type parcel struct {
	due  time.Time
	data []byte
}

// carry hands on what comes, each part when it is due, and then the end.
func (p *Proxy) carry(to, from net.Conn) {
	line := make(chan parcel, 4096)

	go func() {
		defer close(line)

		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)

			if n > 0 {
				line <- parcel{time.Now().Add(p.oneWay), buf[:n]}
			}

			if err != nil {
				return
			}
		}
	}()

	for x := range line {
		time.Sleep(time.Until(x.due))
		p.pass()

		if _, err := to.Write(x.data); err != nil {
			_ = from.Close() // and so the reader ends

			for range line { // what is on its way is lost
			}

			break
		}
	}

	p.pass()

	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite() // the other direction may go on
	}
}
