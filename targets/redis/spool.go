package redis

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"drctl/internal/fail"
)

// spoolTick is how long a read may take to notice that the spool was stopped.
const spoolTick = 250 * time.Millisecond

// spool keeps a replica's link alive while the image is being stored, which may
// take minutes. A server drops a replica that acknowledges nothing for
// repl-timeout, and one that reads nothing until the server's buffer for it is
// full. What comes in is kept in a file without a name.
type spool struct {
	r    *replica
	quit chan struct{}
	wg   sync.WaitGroup
	file *os.File
	n    int64 // bytes in the file
	err  error // why nothing more came in; read after stop
}

// newSpool begins to read and to acknowledge. The acknowledged offset is the
// image's own: nothing above the base is promised.
func newSpool(r *replica, at uint64) *spool {
	s := &spool{r: r, quit: make(chan struct{})}
	s.wg.Go(func() { s.acknowledge(at) })
	s.wg.Go(func() { s.err = s.read() })

	return s
}

func (s *spool) acknowledge(at uint64) {
	t := time.NewTicker(ackEvery)
	defer t.Stop()
	// A server that sent the image without a file waits for this before it
	// sends the stream. The reader meets the error of a broken link.
	for s.r.ack(at) == nil {
		select {
		case <-t.C:
		case <-s.quit:
			return
		}
	}
}

func (s *spool) read() error {
	f, err := os.CreateTemp("", "drctl-redis-stream-")
	if err != nil {
		return s.full(err)
	}

	s.file = f
	if err := os.Remove(f.Name()); err != nil {
		return s.full(err)
	}

	s.r.idle.limit = spoolTick
	defer func() { s.r.idle.limit = idleLimit }()

	buf := make([]byte, readBuffer)
	for last := time.Now(); ; {
		select {
		case <-s.quit:
			return nil
		default:
		}

		n, err := s.r.br.Read(buf)
		if n > 0 {
			last = time.Now()

			if _, err := f.Write(buf[:n]); err != nil {
				return s.full(err)
			}
			s.n += int64(n)
		}

		var ne net.Error
		if err != nil && !(errors.As(err, &ne) && ne.Timeout() && time.Since(last) < idleLimit) {
			return err
		}
	}
}

func (s *spool) full(err error) error {
	return fail.New(fail.Exhausted, "redis: keep the stream", s.r.in.String(), "make room in "+os.TempDir()+", or set TMPDIR, for what the server writes while its image is stored", err)
}

// stop ends the spool: the replica is the caller's again.
func (s *spool) stop() {
	close(s.quit)
	s.wg.Wait()
}

// stream gives what came in, from its beginning.
func (s *spool) stream() io.Reader {
	if s.file == nil {
		return strings.NewReader("")
	}

	return io.NewSectionReader(s.file, 0, s.n)
}

func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
}
