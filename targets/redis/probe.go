package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/redis/backlog"
	"drctl/targets/redis/reply"
)

// Probe reports the state of a server. Held is how many bytes the server has
// that drctl's follower has not yet reported durable (0 when none is
// connected); HeldLimit is the backlog, beyond which a reconnecting follower
// needs a full resync.
func (d *Driver) Probe(ctx context.Context, in targets.Instance) (targets.Status, error) {
	const op = "redis: probe"

	c, err := client(in, 0)
	if err != nil {
		return targets.Status{}, err
	}
	defer c.Close()

	m, err := info(ctx, c, "server", "cluster", "replication", "memory", "persistence", "stats")
	if err != nil {
		return targets.Status{}, wrap(op, in, err)
	}
	s := targets.Status{
		Reachable: true, Version: m["redis_version"], Position: serverPosition(m), Parent: parentPosition(m), Bytes: num(m, "used_memory"),
		Role: targets.Primary, Checked: time.Now().UTC(), HeldLimit: num(m, "repl_backlog_size"),
	}

	s.Writable = m["role"] == "master" && m["loading"] != "1"
	if m["role"] != "master" {
		s.Role = targets.Standby
		if m["slave_repl_offset"] != "" {
			s.Position.Offset, _ = strconv.ParseUint(m["slave_repl_offset"], 10, 64)
		}

		s.Lag = time.Duration(max(num(m, "master_last_io_seconds_ago"), 0)) * time.Second
		if m["master_link_status"] != "up" {
			s.Lag = time.Duration(max(num(m, "master_link_down_since_seconds"), 0)) * time.Second
			s.Warnings = append(s.Warnings, "the link to its master is "+m["master_link_status"])
		}
	}

	if err := checkVersion(op, in, m); err != nil {
		s.Warnings = append(s.Warnings, err.Error())
	}

	if off, ok := followerOffset(m); ok && s.Position.Offset > off {
		s.Held = int64(s.Position.Offset - off)
	}
	s.Warnings = append(s.Warnings, backlog.Warnings(m)...)

	w, err := outputWarnings(ctx, c)
	if err != nil {
		if code, _ := reply.Meaning(err); code == fail.Unavailable {
			return s, wrap(op, in, err)
		}
		w = []string{"cannot read client-output-buffer-limit: " + err.Error()}
	}

	s.Warnings = append(s.Warnings, w...)
	if w, err = renamedWarnings(ctx, in, c); err != nil {
		return s, wrap(op, in, err)
	}
	s.Warnings = append(s.Warnings, w...)

	return s, nil
}

// Reach is Probe, in which nothing depends on how much data there is.
func (d *Driver) Reach(ctx context.Context, in targets.Instance) (targets.Status, error) {
	return d.Probe(ctx, in)
}

// parentPosition is where the server left the timeline that it went on from;
// zero when it left none. A promoted replica has the id of its old master.
func parentPosition(m map[string]string) targets.Position {
	second := num(m, "second_repl_offset") // the first offset that the old id does not stand for
	if second <= 0 || !validID(m["master_replid2"]) {
		return targets.Position{}
	}

	return targets.Position{Kind: targets.Redis, Timeline: m["master_replid2"], Offset: uint64(second - 1)}
}

// followerOffset finds the offset that drctl's follower acknowledged: the
// replica with port 0. Of several the least.
func followerOffset(m map[string]string) (least uint64, ok bool) {
	for k, v := range m {
		if n, isReplica := strings.CutPrefix(k, "slave"); !isReplica || n == "" || n[0] < '0' || n[0] > '9' {
			continue
		}

		f := map[string]string{}
		for part := range strings.SplitSeq(v, ",") {
			if a, b, found := strings.Cut(part, "="); found {
				f[a] = b
			}
		}

		if f["port"] != "0" || f["state"] != "online" {
			continue
		}

		if off, err := strconv.ParseUint(f["offset"], 10, 64); err == nil && (!ok || off < least) {
			least, ok = off, true
		}
	}

	return least, ok
}

// outputWarnings reads the limit at which the server drops a replica that
// does not keep up, which it does while the vaults hold back the follower.
func outputWarnings(ctx context.Context, c *goredis.Client) ([]string, error) {
	v, err := c.ConfigGet(ctx, "client-output-buffer-limit").Result()
	if err != nil {
		return nil, err
	}

	f := strings.Fields(v["client-output-buffer-limit"])
	for i := 0; i+3 < len(f); i += 4 {
		if f[i] != "slave" && f[i] != "replica" {
			continue
		}
		hard, _ := strconv.ParseInt(f[i+1], 10, 64)

		soft, _ := strconv.ParseInt(f[i+2], 10, 64)
		if hard > 0 && hard < 256<<20 || soft > 0 && soft < 64<<20 {
			return []string{fmt.Sprintf("client-output-buffer-limit replica %s %s %s is below the default: a follower is dropped while it takes an image under load", f[i+1], f[i+2], f[i+3])}, nil
		}
	}

	return nil, nil
}
