package redis

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

const (
	// idleLimit is how long a server may be silent: it sends at least a PING
	// every repl-ping-replica-period (10 s), and newlines while it saves.
	idleLimit  = 60 * time.Second
	readBuffer = 256 << 10
	eofMark    = 40
	clientName = "drctl-follow"
)

// replica is one connection that speaks the replication protocol.
type replica struct {
	in     targets.Instance
	conn   net.Conn
	idle   *idleConn // what br reads from
	br     *bufio.Reader
	unhook func() bool
	wmu    sync.Mutex
}

// offer is the server's answer to PSYNC.
type offer struct {
	full   bool
	id     string // replication id that the stream continues under; "" means the one asked for
	offset uint64 // of a full resync: bytes before the image
}

// idleConn gives every read a deadline.
type idleConn struct {
	net.Conn
	limit time.Duration // belongs to who reads
}

func (c *idleConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}

	return c.Conn.Read(p)
}

// connectReplica dials, authenticates and introduces itself. The connection
// is closed when ctx ends.
func connectReplica(ctx context.Context, in targets.Instance) (*replica, error) {
	conn, err := dial(ctx, in)
	if err != nil {
		return nil, err
	}
	idle := &idleConn{conn, idleLimit}
	r := &replica{in: in, conn: conn, idle: idle, br: bufio.NewReaderSize(idle, readBuffer)}

	r.unhook = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := r.handshake(); err != nil {
		r.close()

		if ctx.Err() != nil {
			return nil, ctx.Err()
		}

		return nil, err
	}

	return r, nil
}

func (r *replica) handshake() error {
	if p := r.in.Password.Reveal(); p != "" || r.in.User != "" {
		args := []string{"AUTH", p}
		if r.in.User != "" {
			args = []string{"AUTH", r.in.User, p}
		}

		if err := r.call(args...); err != nil {
			return err
		}
	}
	// A server that refuses writes because it could not save its image refuses
	// PING too, and streams all the same.
	if err := r.call("PING"); err != nil && !(isServerError(err) && refusesWrites(err.Error())) {
		return err
	}
	// A name helps a person who reads CLIENT LIST; a user without the right
	// to set one still works.
	if err := r.call("CLIENT", "SETNAME", clientName); err != nil && !isServerError(err) {
		return err
	}
	// Port 0: nobody can connect to this replica. Probe knows drctl by it.
	if err := r.call("REPLCONF", "listening-port", "0"); err != nil {
		return err
	}

	return r.call("REPLCONF", "capa", "eof", "capa", "psync2")
}

// serverError is an error that the server answered.
type serverError string

func (e serverError) Error() string { return string(e) }

func isServerError(err error) bool {
	var e serverError
	return errors.As(err, &e)
}

func encode(args ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(args))

	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}

	return b.Bytes()
}

func (r *replica) write(args ...string) error {
	r.wmu.Lock()
	defer r.wmu.Unlock()

	if err := r.conn.SetWriteDeadline(time.Now().Add(commandTimeout)); err != nil {
		return err
	}
	_, err := r.conn.Write(encode(args...))

	return err
}

// call sends a command whose answer is one line.
func (r *replica) call(args ...string) error {
	if err := r.write(args...); err != nil {
		return err
	}

	line, err := r.line()
	if err != nil {
		return err
	}

	if strings.HasPrefix(line, "-") {
		return serverError(line[1:])
	}

	return nil
}

// line reads a line that is not empty: newlines keep a waiting replica alive.
func (r *replica) line() (string, error) {
	for {
		b, err := r.br.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, bufio.ErrBufferFull) {
				return "", fail.Newf(fail.Corrupt, "redis: replication", r.in.String(), "a line of more than %d bytes", readBuffer)
			}

			return "", err
		}

		if s := strings.TrimRight(string(b), "\r\n"); s != "" {
			return s, nil
		}
	}
}

// psync asks for the stream from a position on; a zero position asks for a
// full resync.
func (r *replica) psync(at targets.Position) (offer, error) {
	id, off := "?", "-1"
	if at.Timeline != "" {
		id, off = at.Timeline, strconv.FormatUint(at.Offset+1, 10)
	}

	if err := r.write("PSYNC", id, off); err != nil {
		return offer{}, err
	}

	line, err := r.line()
	if err != nil {
		return offer{}, err
	}

	f := strings.Fields(line)
	switch {
	case strings.HasPrefix(line, "-"):
		return offer{}, serverError(line[1:])
	case len(f) == 3 && f[0] == "+FULLRESYNC":
		n, err := strconv.ParseUint(f[2], 10, 64)
		if err != nil || !validID(f[1]) {
			break
		}

		return offer{full: true, id: f[1], offset: n}, nil
	case len(f) == 1 && f[0] == "+CONTINUE":
		return offer{id: at.Timeline}, nil
	case len(f) == 2 && f[0] == "+CONTINUE" && validID(f[1]):
		return offer{id: f[1]}, nil
	}

	return offer{}, fail.Newf(fail.Corrupt, "redis: replication", r.in.String(), "unexpected answer to PSYNC: %.80q", line)
}

// validID reports whether s is a replication id: 40 hex digits.
func validID(s string) bool {
	if len(s) != 40 {
		return false
	}

	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}

	return true
}

// image opens the RDB that follows a full resync. It must be read to io.EOF
// before anything else is.
func (r *replica) image() (io.Reader, error) {
	line, err := r.line()
	if err != nil {
		return nil, err
	}

	if strings.HasPrefix(line, "-") {
		return nil, serverError(line[1:])
	}

	if mark, ok := strings.CutPrefix(line, "$EOF:"); ok && len(mark) == eofMark {
		return &markedReader{r: r.br, mark: []byte(mark)}, nil
	}

	if s, ok := strings.CutPrefix(line, "$"); ok {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 {
			return &exactReader{r: r.br, left: n}, nil
		}
	}

	return nil, fail.Newf(fail.Corrupt, "redis: replication", r.in.String(), "unexpected beginning of the image: %.80q", line)
}

// exactReader gives exactly left bytes or an error.
type exactReader struct {
	r    io.Reader
	left int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}

	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	if e.left -= int64(n); err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	} else if err == io.EOF {
		err = nil
	}

	return n, err
}

// markedReader gives the bytes before a mark. The server sends nothing behind
// the mark until it is told that the image has arrived, so the mark is the
// end of what was received.
type markedReader struct {
	r    io.Reader
	mark []byte
	buf  []byte // received and not given out; the last bytes may be the mark
	err  error
}

func (m *markedReader) Read(p []byte) (int, error) {
	for {
		if m.err == io.EOF && len(m.buf) > 0 {
			n := copy(p, m.buf)
			m.buf = m.buf[n:]

			return n, nil
		}

		if m.err != nil {
			return 0, m.err
		}

		if len(m.buf) > len(m.mark) {
			n := copy(p, m.buf[:len(m.buf)-len(m.mark)])
			m.buf = m.buf[n:]

			return n, nil
		}

		m.fill()
	}
}

func (m *markedReader) fill() {
	keep := len(m.buf)
	b := make([]byte, keep+64<<10)
	copy(b, m.buf)
	n, err := m.r.Read(b[keep:])

	m.buf = b[:keep+n]
	switch {
	case bytes.HasSuffix(m.buf, m.mark):
		m.buf = m.buf[:len(m.buf)-len(m.mark)]
		m.err = io.EOF
	case err == io.EOF:
		m.err = io.ErrUnexpectedEOF
	case err != nil:
		m.err = err
	}
}

// ack tells the server up to which offset the stream is safe.
func (r *replica) ack(offset uint64) error {
	return r.write("REPLCONF", "ACK", strconv.FormatUint(offset, 10))
}

func (r *replica) close() {
	r.unhook()
	_ = r.conn.Close()
}
