package redis

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/retry"
	"drctl/targets"
)

const (
	ackEvery = time.Second
	// reconnectFor is how long Follow tries to get its connection back before
	// it returns the error; the caller then resolves the instance again.
	reconnectFor = 15 * time.Second
)

// Follow archives the replication stream. It resumes at the archive's tail
// when the server still has the bytes after it; else it takes a full resync,
// whose image becomes a base and whose offset begins the timeline. A lost
// connection is taken up again for some seconds.
func (d *Driver) Follow(ctx context.Context, in targets.Instance, archive targets.Archive) error {
	const op = "redis: follow"

	tries := retry.Policy{First: 100 * time.Millisecond, Max: 2 * time.Second, For: reconnectFor, If: retry.On(fail.Unavailable)}.Start()
	for {
		f := &follower{d: d, in: in, archive: archive}

		err := f.session(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}

		if aerr := archive.Err(); aerr != nil {
			return aerr
		}

		if f.moved {
			tries.Reset()
		}

		if err = wrap(op, in, err); fail.Is(err, fail.Unavailable) {
			d.log.InfoContext(ctx, "replication interrupted", "instance", in.String(), "err", err)
		}

		if err := tries.Again(ctx, err); err != nil {
			return err
		}
	}
}

// follower is one connection's worth of following.
type follower struct {
	d       *Driver
	in      targets.Instance
	archive targets.Archive
	r       *replica
	offset  uint64 // of the next byte of the stream
	moved   bool
	held    *spool // of a full resync
	// next, when set, is a timeline that begins at switchAt.
	next     string
	timeline string
	switchAt uint64
}

func (f *follower) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	err := f.hello(ctx)
	if err != nil {
		return err
	}

	if f.r, err = connectReplica(ctx, f.in); err != nil {
		return err
	}
	defer f.r.close()
	defer func() {
		if f.held != nil {
			f.held.close()
		}
	}()
	tail, _ := f.archive.Tail()

	o, err := f.r.psync(tail)
	if err != nil {
		return err
	}

	if o.full {
		err = f.fullResync(ctx, o, tail)
	} else {
		err = f.resume(ctx, o, tail)
	}

	if err != nil {
		return err
	}

	ended := make(chan struct{})
	go func() {
		defer close(ended)

		if err := f.acknowledge(ctx); err != nil {
			cancel(err)
		}
	}()

	err = f.pump(ctx)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}

	cancel(nil)
	<-ended

	return err
}

// hello checks the server before any replication.
func (f *follower) hello(ctx context.Context) error {
	c, err := client(f.in, 0)
	if err != nil {
		return err
	}
	defer c.Close()

	m, err := info(ctx, c, "server")
	if err != nil {
		return err
	}
	m["cluster_enabled"] = map[bool]string{true: "1", false: "0"}[m["redis_mode"] == "cluster"]

	return checkVersion("redis: follow", f.in, m)
}

// settings are those of the base that a full resync makes.
func (f *follower) settings(ctx context.Context) (map[string]string, error) {
	c, err := client(f.in, 0)
	if err != nil {
		return nil, err
	}
	defer c.Close()

	return sourceSettings(ctx, "redis: follow", f.in, c)
}

// fullResync saves the image as a base, then begins the timeline: in this
// order, so that a timeline that has begun has its base.
func (f *follower) fullResync(ctx context.Context, o offer, tail targets.Position) error {
	if o.id == tail.Timeline && o.offset < tail.Offset {
		return fail.New(fail.Unavailable, "redis: follow", f.in.String(), "name the primary, or wait until this replica has caught up", errors.New("the server is behind what is archived of the same replication id"))
	}
	at := targets.Position{Kind: targets.Redis, Timeline: o.id, Offset: o.offset}
	f.d.log.InfoContext(ctx, "full resync", "instance", f.in.String(), "timeline", o.id, "offset", o.offset, "archived", tail.Offset)

	settings, err := f.settings(ctx)
	if err != nil {
		return err
	}

	image, err := f.r.image()
	if err != nil {
		return err
	}
	var mu sync.Mutex // an archive that failed may leave a reader behind
	stored := false
	err = f.archive.Base(ctx, at, &endReader{&magicReader{Reader: imageReader{image, f.in}, in: f.in}, sync.OnceFunc(func() {
		mu.Lock()
		defer mu.Unlock()
		if !stored {
			f.held = newSpool(f.r, o.offset)
		}
	})}, settings)

	mu.Lock()
	stored = true

	mu.Unlock()

	if f.held != nil {
		defer f.held.stop()
	}

	if err != nil {
		return err
	}

	if f.held == nil {
		return fail.Newf(fail.Internal, "redis: follow", f.in.String(), "a base was stored before its image had ended")
	}

	if err := f.archive.Begin(ctx, o.id, o.offset, targets.Position{}, nil); err != nil {
		return err
	}
	f.timeline, f.offset, f.moved = o.id, o.offset, true

	return nil
}

// endReader calls a function when the end has been read.
type endReader struct {
	io.Reader
	ended func()
}

func (r *endReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		r.ended()
	}

	return n, err
}

// imageReader names the instance in the errors of the transfer.
type imageReader struct {
	io.Reader
	in targets.Instance
}

func (r imageReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = wrap("redis: image", r.in, err)
	}

	return n, err
}

// resume goes on at the tail. A server that was promoted continues the old
// timeline under a new id; both ids share the bytes up to where it took over.
func (f *follower) resume(ctx context.Context, o offer, tail targets.Position) error {
	f.timeline, f.offset = tail.Timeline, tail.Offset
	if err := f.archive.Begin(ctx, tail.Timeline, tail.Offset, targets.Position{}, nil); err != nil {
		return err
	}

	if o.id == tail.Timeline {
		return nil
	}

	c, err := client(f.in, 0)
	if err != nil {
		return err
	}
	defer c.Close()

	m, err := info(ctx, c, "replication")
	if err != nil {
		return err
	}

	if m["master_replid"] != o.id || m["master_replid2"] != tail.Timeline {
		return fail.Newf(fail.Unavailable, "redis: follow", f.in.String(), "the replication id changed during the handshake")
	}

	second := num(m, "second_repl_offset")
	if second < 1 || uint64(second-1) < tail.Offset {
		return fail.Newf(fail.Corrupt, "redis: follow", f.in.String(), "the server continues %s at %d, but says it left it at %d", tail.Timeline, tail.Offset, second-1)
	}
	f.next, f.switchAt = o.id, uint64(second-1)
	f.d.log.InfoContext(ctx, "replication id changed", "instance", f.in.String(), "from", tail.Timeline, "to", o.id, "at", f.switchAt)

	return f.maybeSwitch(ctx)
}

// maybeSwitch begins the next timeline when the stream has reached it.
func (f *follower) maybeSwitch(ctx context.Context) error {
	if f.next == "" || f.offset < f.switchAt {
		return nil
	}

	parent := targets.Position{Kind: targets.Redis, Timeline: f.timeline, Offset: f.switchAt}
	if err := f.archive.Begin(ctx, f.next, f.switchAt, parent, nil); err != nil {
		return err
	}
	f.timeline, f.next = f.next, ""

	return nil
}

// pump hands the stream to the archive until something ends it: first what
// came in while the image was being stored.
func (f *follower) pump(ctx context.Context) error {
	targets.Streaming(f.archive)

	if f.held != nil {
		if err := f.feed(ctx, f.held.stream()); err != io.EOF {
			return err
		}

		if f.held.err != nil {
			return f.held.err
		}

		f.held.close() // its space is not needed for the hours to come
	}

	return f.feed(ctx, f.r.br)
}

func (f *follower) feed(ctx context.Context, from io.Reader) error {
	buf := make([]byte, readBuffer)
	for {
		n, err := from.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			part := p
			if f.next != "" && f.offset < f.switchAt {
				part = p[:min(uint64(len(p)), f.switchAt-f.offset)]
			}

			if err := f.archive.Write(ctx, f.offset, part); err != nil {
				return err
			}
			f.offset += uint64(len(part))
			f.moved = true
			p = p[len(part):]

			if err := f.maybeSwitch(ctx); err != nil {
				return err
			}
		}

		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}

			return err
		}
	}
}

// acknowledge tells the server what is durable, whenever that grows and at
// least every second: a silent replica is dropped. It returns the error of an
// archive that has given up.
func (f *follower) acknowledge(ctx context.Context) error {
	t := time.NewTicker(ackEvery)
	defer t.Stop()

	var acked uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-f.archive.Advanced():
		}

		if err := f.archive.Err(); err != nil {
			return err
		}

		acked = max(acked, f.archive.Durable())
		if err := f.r.ack(acked); err != nil {
			if ctx.Err() != nil {
				return nil
			}

			return err
		}
	}
}
