package fencing

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/proc"
	"drctl/targets"
)

const program = "redis-server"

// pause is how long writers wait at most: the server is stopped long before.
const pauseMS = 600_000

// Server is a server that runs on this host.
type Server struct {
	in  targets.Instance
	dir string
	c   *goredis.Client
}

// New takes a server by a client of it, which must be up, to learn where its process works.
func New(ctx context.Context, in targets.Instance, c *goredis.Client) (*Server, error) {
	const op = "fencing"

	conf, err := c.ConfigGet(ctx, "dir").Result()
	if err != nil {
		return nil, fail.From(fail.Unavailable, op, in.String(), err)
	}

	dir, err := filepath.EvalSymlinks(conf["dir"])
	if err != nil {
		return nil, fail.FromOS(op, conf["dir"], err)
	}

	pid, err := field(ctx, c, "server", "process_id")
	if err != nil {
		return nil, fail.From(fail.Unavailable, op, in.String(), err)
	}

	if all := proc.In(dir, program); len(all) != 1 || strconv.Itoa(all[0].Pid) != pid {
		return nil, fail.New(fail.Conflict, op, in.String(), "run the guard on the server's host, and give every Redis server a directory of its own",
			errors.New("the server's process cannot be told from others"))
	}

	return &Server{in, dir, c}, nil
}

// field reads one line of INFO.
func field(ctx context.Context, c *goredis.Client, section, name string) (string, error) {
	info, err := c.Info(ctx, section).Result()
	for l := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(l, name+":"); ok {
			return strings.TrimSpace(v), nil
		}
	}

	return "", errors.Join(err, errors.New("INFO does not say "+name))
}

// Instance names the server.
func (s *Server) Instance() string { return s.in.Shard.String() + "@" + s.in.Region }

// Place is the server's directory and the program's name.
func (s *Server) Place() (dir string, programs []string) { return s.dir, []string{program} }

// Here is true: New has seen it.
func (s *Server) Here() bool { return true }

// Writable reports whether the server is up and a master.
func (s *Server) Writable(ctx context.Context) (bool, error) {
	if len(proc.In(s.dir, program)) == 0 {
		return false, nil
	}
	role, err := field(ctx, s.c, "replication", "role")

	return role == "master", err
}

// Hold keeps all writers waiting and ends the sessions of all clients but replicas.
func (s *Server) Hold(ctx context.Context) error {
	if err := s.c.Do(ctx, "CLIENT", "PAUSE", pauseMS, "WRITE").Err(); err != nil {
		return fail.From(fail.Unavailable, "fencing: hold", s.in.String(), err)
	}

	return s.c.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err()
}

// Release does nothing: a server that was started again is not paused.
func (s *Server) Release(context.Context) error { return nil }

// Stop asks for a shutdown in order: replicas get what they lack, what is to be saved is saved.
func (s *Server) Stop(context.Context) error {
	for _, p := range proc.In(s.dir, program) {
		if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fail.New(fail.Denied, "fencing: stop", s.in.String(), "run the guard as root or as the server's user", err)
		}
		_ = p.Signal(syscall.SIGCONT) // one that is stopped could not end
	}

	return nil
}
