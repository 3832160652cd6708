package switchover

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
)

const (
	// poll is how often a server is asked while writers wait.
	poll   = 500 * time.Microsecond
	maxLag = 16 << 20
	lease  = 10 * time.Second
)

// Options are the driver's way to servers.
type Options struct {
	// Client makes a client of one connection that tries nothing again.
	Client func(in targets.Instance) (*goredis.Client, error)
	// Explain turns an error of a server into one of ours.
	Explain func(op string, in targets.Instance, err error) error
}

// Switcher implements handover.Switcher.
type Switcher struct{ o Options }

var _ handover.Switcher = (*Switcher)(nil)

// New makes it.
func New(o Options) *Switcher { return &Switcher{o} }

// Switch takes a shard in hand.
func (s *Switcher) Switch(req handover.Request) (handover.Switch, error) {
	const op = "switch"

	switch {
	case req.New.Address == "" || req.Old.Address == "":
		return nil, fail.Newf(fail.Invalid, op, req.New.Shard.String(), "a side has no address")
	case req.Old.Shard != req.New.Shard:
		return nil, fail.Newf(fail.Invalid, op, req.New.String(), "the old side is %s", req.Old)
	case req.Old.Address == req.New.Address:
		return nil, fail.Newf(fail.Invalid, op, req.New.String(), "both sides are the same")
	}

	req.MaxLag = cmp.Or(req.MaxLag, maxLag)
	req.Lease = cmp.Or(req.Lease, lease)

	return &hands{req: req, old: &side{o: &s.o, in: req.Old}, new: &side{o: &s.o, in: req.New}}, nil
}

// hands are one shard's.
type hands struct {
	req      handover.Request
	old, new *side
}

// Close ends the connections.
func (h *hands) Close() {
	h.old.close()
	h.new.close()
}

// side is a server and the session with it.
type side struct {
	o  *Options
	in targets.Instance
	c  *goredis.Client
}

func (s *side) client(op string) (*goredis.Client, error) {
	if s.c != nil {
		return s.c, nil
	}

	c, err := s.o.Client(s.in)
	if err != nil {
		return nil, s.o.Explain(op, s.in, err)
	}
	s.c = c

	return c, nil
}

func (s *side) close() {
	if s.c != nil {
		_ = s.c.Close()
		s.c = nil
	}
}

// do runs a command.
func (s *side) do(ctx context.Context, op string, args ...any) (any, error) {
	c, err := s.client(op)
	if err != nil {
		return nil, err
	}

	v, err := c.Do(ctx, args...).Result()
	if err != nil {
		return nil, s.o.Explain(op, s.in, err)
	}

	return v, nil
}

// seen is what a server says of its replication.
type seen struct {
	master bool
	of     string        // host:port of its master
	linked bool          // the link to its master is up
	silent time.Duration // since it has heard from its master
	id     string        // of its history
	offset uint64
	// before and fork are the history that it left, and where.
	before string
	fork   uint64
}

func (s *side) look(ctx context.Context, op string) (seen, error) {
	c, err := s.client(op)
	if err != nil {
		return seen{}, err
	}

	text, err := c.Info(ctx, "replication").Result()
	if err != nil {
		return seen{}, s.o.Explain(op, s.in, err)
	}

	return parse(text), nil
}

// parse reads INFO replication.
func parse(text string) seen {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			m[k] = v
		}
	}

	v := seen{master: m["role"] == "master", linked: m["master_link_status"] == "up", id: m["master_replid"], before: m["master_replid2"]}
	v.offset, _ = strconv.ParseUint(m["master_repl_offset"], 10, 64)

	if at, err := strconv.ParseInt(m["second_repl_offset"], 10, 64); err == nil && at > 0 {
		v.fork = uint64(at - 1) // the first offset that the old id does not stand for
	} else {
		v.before = ""
	}

	if !v.master {
		v.of = net.JoinHostPort(m["master_host"], m["master_port"])

		if n, err := strconv.Atoi(m["master_last_io_seconds_ago"]); err == nil && n > 0 {
			v.silent = time.Duration(n) * time.Second
		}
		// What it has applied: it may have received more than that.
		if at, err := strconv.ParseUint(m["slave_repl_offset"], 10, 64); err == nil {
			v.offset = at
		}
	}

	return v
}

// position is where the server's history stands.
func (v seen) position() targets.Position {
	return targets.Position{Kind: targets.Redis, Timeline: v.id, Offset: v.offset}
}

// follows reports whether the server is a replica of an instance.
func (v seen) follows(in targets.Instance) bool { return !v.master && v.of == in.Address }

// await asks until yes is true.
func await(ctx context.Context, op string, in targets.Instance, what func() string, yes func() (bool, error)) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()

	for {
		ok, err := yes()
		if err == nil && ok {
			return nil
		}

		if err != nil && ctx.Err() == nil {
			return err
		}

		select {
		case <-ctx.Done():
			return fail.New(fail.Stalled, op, in.String(), "", fmt.Errorf("%s: %w", what(), context.Cause(ctx)))
		case <-tick.C:
		}
	}
}

// caught waits until the replica has a place of a history.
func (s *side) caught(ctx context.Context, op string, to targets.Position) (v seen, err error) {
	err = await(ctx, op, s.in, func() string { return fmt.Sprintf("it is at %v, and is to come to %v", v.position(), to) }, func() (bool, error) {
		var err error
		if v, err = s.look(ctx, op); err != nil {
			return false, err
		}

		if v.id != to.Timeline {
			return false, fail.Newf(fail.Conflict, op, s.in.String(), "it is of another history: at %v", v.position())
		}

		return v.offset >= to.Offset, nil
	})

	return v, err
}
