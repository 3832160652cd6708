package redis

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/redis/reply"
)

// markScript names the position and writes the marker in one step, so that no
// other command is between them: the position is before the marker. It
// refuses on a replica, whose offset is not its own.
//
// The position needs no marker: it is read while no other command runs, and what
// the server has numbered by then is all before it. The marker is for people who
// look at a server. So one that the server refuses to write (it is full, or may
// not write without a disk or its replicas) costs only the marker; the third
// value is that refusal.
const markScript = `
local r = redis.call('INFO', 'replication')
if not string.find(r, 'role:master', 1, true) then return redis.error_reply('READONLY this is a replica') end
local id = string.match(r, 'master_replid:(%w+)')
local off = string.match(r, 'master_repl_offset:(%d+)')
local w = redis.pcall('SET', KEYS[1], ARGV[1])
if type(w) == 'table' and w.err then return {id, off, w.err} end
return {id, off, ''}`

// MarkerKey is the key that a cut of the group writes on every Redis master,
// in database 0. Its value is the newest cut's id.
func MarkerKey(group string) string { return "drctl:cut:" + group }

// Join connects and makes sure that the instance is a master whose log counts:
// with no replica and no backlog a Redis server does not number its writes.
// Redis runs one command at a time, so there is nothing to lock: Mark itself
// is the instant.
func (d *Driver) Join(ctx context.Context, in targets.Instance, req targets.JoinRequest) (targets.Member, error) {
	const op = "redis: join cut"
	if req.Gate {
		return nil, fail.New(fail.Unsupported, op, in.String(), "name a PostgreSQL shard as the gate", errors.New("a Redis server cannot hold a gate"))
	}

	c, err := client(in, 0)
	if err != nil {
		return nil, err
	}

	if err := joinChecks(ctx, op, in, c); err != nil {
		_ = c.Close()
		return nil, err
	}
	// Loading the script now saves the time in the barrier.
	if err := c.ScriptLoad(ctx, markScript).Err(); err != nil && !scriptRefused(err) {
		_ = c.Close()
		return nil, wrap(op, in, err)
	}

	return &member{in: in, c: c, key: MarkerKey(req.Group), cut: req.CutID}, nil
}

func joinChecks(ctx context.Context, op string, in targets.Instance, c *goredis.Client) error {
	m, err := info(ctx, c, "server", "cluster", "replication", "persistence")
	if err != nil {
		return wrap(op, in, err)
	}

	if err := checkVersion(op, in, m); err != nil {
		return err
	}

	if m["role"] != "master" {
		return fail.New(fail.Conflict, op, in.String(), "name the primary; its master is "+m["master_host"]+":"+m["master_port"], errors.New("this is a replica"))
	}

	if m["loading"] == "1" {
		return fail.New(fail.Unavailable, op, in.String(), "wait until it has loaded", errors.New("the server is loading its data"))
	}

	if m["repl_backlog_active"] != "1" {
		return fail.New(fail.Unavailable, op, in.String(), "its archiver has not begun; drctl status says why, and drctl up starts it", errors.New("the server has no replica and no backlog, so it does not number its writes"))
	}

	return nil
}

type member struct {
	in      targets.Instance
	c       *goredis.Client
	key     string
	cut     string
	refused string // why the server did not write the marker
}

// Warnings says that the marker could not be written.
func (m *member) Warnings() []string {
	if m.refused == "" {
		return nil
	}

	return []string{"the server refuses writes, so the cut has no marker there; its position is as good without: " + m.refused}
}

// LockGate is refused: Redis has no lock that a server ends by itself.
func (m *member) LockGate(context.Context, time.Duration) error {
	return fail.New(fail.Unsupported, "redis: gate", m.in.String(), "name a PostgreSQL shard as the gate", nil)
}

// Lock does nothing: one command at a time is all that Redis runs.
func (m *member) Lock(context.Context, time.Duration) error { return nil }

// Unlock does nothing.
func (m *member) Unlock(context.Context) error { return nil }

// Mark returns the replication offset just before the marker is written.
func (m *member) Mark(ctx context.Context) (targets.Position, error) {
	const op = "redis: mark"
	script := goredis.NewScript(markScript)

	v, err := script.EvalSha(ctx, m.c, []string{m.key}, m.cut).Slice()
	if goredis.HasErrorPrefix(err, "NOSCRIPT") || goredis.HasErrorPrefix(err, "NOPERM") {
		v, err = script.Eval(ctx, m.c, []string{m.key}, m.cut).Slice()
	}

	if err != nil {
		if scriptRefused(err) {
			return targets.Position{}, fail.New(fail.Denied, op, m.in.String(), "give the user what it lacks: "+reply.NeededACL, err)
		}

		return targets.Position{}, wrap(op, m.in, err)
	}

	var s [3]string
	if len(v) == len(s) {
		for i := range s {
			s[i], _ = v[i].(string)
		}
	}

	if s[2] != "" && !refusesWrites(s[2]) {
		if err := errors.New(s[2]); scriptRefused(err) {
			return targets.Position{}, fail.New(fail.Denied, op, m.in.String(), "give the user what it lacks: "+reply.NeededACL, err)
		}

		return targets.Position{}, wrap(op, m.in, errors.New(s[2]))
	}

	off, err := strconv.ParseUint(s[1], 10, 64)
	if err != nil || !validID(s[0]) {
		return targets.Position{}, fail.Newf(fail.Internal, op, m.in.String(), "unexpected answer %v", v)
	}
	m.refused = s[2]

	return targets.Position{Kind: targets.Redis, Timeline: s[0], Offset: off}, nil
}

// refusesWrites knows the refusals that concern every write for now: no memory
// is left under maxmemory, the last image could not be saved, too few replicas.
func refusesWrites(text string) bool {
	word, _, _ := strings.Cut(text, " ")
	return word == "OOM" || word == "MISCONF" || word == "NOREPLICAS"
}

// scriptRefused knows the errors of a user or a server that may not run the
// script or a command inside it.
func scriptRefused(err error) bool {
	for _, p := range []string{"NOPERM", "ERR ACL failure", "ERR The user executing the script", "ERR unknown command", "ERR This Redis command is not allowed"} {
		if strings.HasPrefix(err.Error(), p) {
			return true
		}
	}

	return false
}

// Release does nothing.
func (m *member) Release(context.Context) error { return nil }

// Settle does nothing: the marker is in the stream already.
func (m *member) Settle(context.Context) error { return nil }

// Close ends the connection. It may be repeated.
func (m *member) Close() { _ = m.c.Close() }
