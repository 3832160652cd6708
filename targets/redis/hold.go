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

// holdTick is how long a read may take to notice that the hold is over.
const holdTick = 250 * time.Millisecond

// hold keeps a replica's link alive between the end of an image and the
// beginning of its timeline, while the image is being stored, which may take
// minutes: a replica that acknowledges nothing is dropped after repl-timeout,
// and one that reads nothing when the server's buffer for it is full. What
// comes in is kept in a file without a name.
type hold struct {
	r    *replica
	quit chan struct{}
	wg   sync.WaitGroup
	file *os.File
	n    int64 // bytes in the file
	err  error // why nothing more came in; read after stop
}

// newHold begins to hold. The acknowledged offset is the image's own: nothing
// above the base is promised.
func newHold(r *replica, at uint64) *hold {
	h := &hold{r: r, quit: make(chan struct{})}
	h.wg.Go(func() { h.acknowledge(at) })
	h.wg.Go(func() { h.err = h.read() })

	return h
}

func (h *hold) acknowledge(at uint64) {
	t := time.NewTicker(ackEvery)
	defer t.Stop()
	// A server that sent the image without a file waits for this before it
	// sends the stream. The reader meets the error of a broken link.
	for h.r.ack(at) == nil {
		select {
		case <-t.C:
		case <-h.quit:
			return
		}
	}
}

func (h *hold) read() error {
	f, err := os.CreateTemp("", "drctl-redis-stream-")
	if err != nil {
		return h.full(err)
	}

	h.file = f
	if err := os.Remove(f.Name()); err != nil {
		return h.full(err)
	}

	h.r.idle.limit = holdTick
	defer func() { h.r.idle.limit = idleLimit }()

	buf := make([]byte, readBuffer)
	for last := time.Now(); ; {
		select {
		case <-h.quit:
			return nil
		default:
		}

		n, err := h.r.br.Read(buf)
		if n > 0 {
			last = time.Now()

			if _, err := f.Write(buf[:n]); err != nil {
				return h.full(err)
			}
			h.n += int64(n)
		}

		var ne net.Error
		if err != nil && !(errors.As(err, &ne) && ne.Timeout() && time.Since(last) < idleLimit) {
			return err
		}
	}
}

func (h *hold) full(err error) error {
	return fail.New(fail.Exhausted, "redis: keep the stream", h.r.in.String(), "make room in "+os.TempDir()+", or set TMPDIR, for what the server writes while its image is stored", err)
}

// stop ends the hold: the replica is the caller's again.
func (h *hold) stop() {
	close(h.quit)
	h.wg.Wait()
}

// stream gives what came in, from its beginning.
func (h *hold) stream() io.Reader {
	if h.file == nil {
		return strings.NewReader("")
	}

	return io.NewSectionReader(h.file, 0, h.n)
}

func (h *hold) close() {
	if h.file != nil {
		_ = h.file.Close()
		h.file = nil
	}
}
