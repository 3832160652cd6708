package redis

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

// A write command that the server knows by another name is in the log under
// that name. Without its name no base is taken; with it a restore understands.
func TestRenamedCommands(t *testing.T) {
	d := driver(t)
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{Settings: map[string]string{
		"rename-command FLUSHDB": "ops-flushdb", "rename-command RESTORE-ASKING": "ops-asking", "rename-command FLUSHALL": `""`, "rename-command CONFIG": "CONFIG"}})

	m := newMemory(t)
	_, err := d.Base(ctx, in, targets.BaseRequest{ID: "b"}, m)
	if !fail.Is(err, fail.Unsupported) || !strings.Contains(err.Error(), "FLUSHDB") || !strings.Contains(err.Error(), "renamed_commands") || strings.Contains(err.Error(), "FLUSHALL") {
		t.Fatalf("base of a server with renamed commands: %v", err)
	}
	if err := d.Follow(ctx, in, m); !fail.Is(err, fail.Unsupported) {
		t.Fatalf("full resync: %v", err)
	}
	s, err := d.Probe(ctx, in)
	must(t, err)
	if !strings.Contains(strings.Join(s.Warnings, "\n"), "FLUSHDB is renamed") {
		t.Errorf("warnings: %q", s.Warnings)
	}
	in.Renamed = map[string]string{"flushdb": "some-other-name", "restore-asking": "ops-asking"}
	if _, err := d.Base(ctx, in, targets.BaseRequest{ID: "b"}, m); !fail.Is(err, fail.Invalid) {
		t.Fatalf("a wrong name: %v", err)
	}

	in.Renamed = map[string]string{"flushdb": "ops-flushdb", "restore-asking": "ops-asking"}
	follow(t, d, in, m)
	waitFor(t, "start", func() bool { _, ok := m.Tail(); return ok })
	c := dbClient(t, in, 7)
	must(t, c.Set(ctx, "before", 1, 0).Err())
	must(t, c.Do(ctx, "ops-flushdb").Err())
	must(t, c.Set(ctx, "after", 1, 0).Err())
	end := caughtUp(t, in, m)
	base, path := m.path(end)
	record := base // what the sink and the caller add is made up
	record.Path, record.Method = "/dump.rdb", "full"
	record.Shard, record.Region, record.Snapshot = targets.ShardID{Target: "cart", Shard: "0"}, "east", strings.Repeat("0", 64)
	must(t, record.Check(time.Now()))
	to := restoreTo(t, d, m, targets.RestoreRequest{Base: base, Point: end, Path: path})
	keys, err := dbClient(t, to, 7).Keys(ctx, "*").Result()
	must(t, err)
	if len(keys) != 1 || keys[0] != "after" {
		t.Fatalf("restored keys %q", keys)
	}
}

// Started the way its source is started, a restored server holds its data; and
// there is nothing that it would hold started another way, but nothing at all.
func TestRestoredServerStartsAsItsSource(t *testing.T) {
	for _, c := range []struct {
		name   string
		source map[string]string
		start  map[string]string
		note   string
	}{
		{"image", map[string]string{"appendonly": "no", "dbfilename": "cart.rdb", "databases": "20"},
			map[string]string{"dbfilename": "cart.rdb", "databases": "20"}, "--appendonly no --dbfilename cart.rdb"},
		{"append-only file", map[string]string{"appendonly": "yes", "databases": "20"},
			map[string]string{"appendonly": "yes", "databases": "20"}, "--databases 20 --appendonly yes"},
		{"other names", map[string]string{"appendonly": "yes", "appenddirname": "log", "appendfilename": "cart.aof"},
			map[string]string{"appendonly": "yes", "appenddirname": "log", "appendfilename": "cart.aof"}, "--appenddirname log --appendfilename cart.aof"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := driver(t)
			in := sandboxtest.Redis(t, sandboxtest.RedisOptions{Settings: c.source})
			m := newMemory(t)
			follow(t, d, in, m)
			waitFor(t, "start", func() bool { _, ok := m.Tail(); return ok })
			must(t, dbClient(t, in, 15).Set(ctx, "k", "v", 0).Err())
			end := caughtUp(t, in, m)
			base, path := m.path(end)

			to := targets.Instance{Shard: in.Shard, Role: targets.Primary, DataDir: filepath.Join(sandboxtest.Dir(t), "data")}
			out, err := d.Restore(ctx, to, targets.RestoreRequest{Base: base, Point: end, Path: path}, m)
			must(t, err)
			if !strings.Contains(fmt.Sprint(out.Findings), c.note) {
				t.Errorf("the findings do not say %q: %+v", c.note, out.Findings)
			}

			p, err := sandboxtest.Tools(t).StartRedis(ctx, servers.RedisSpec{Dir: to.DataDir, Password: in.Password, Settings: c.start})
			must(t, err)
			defer func() { _ = p.Kill() }()
			at := in
			at.Address = p.Address
			if v, err := dbClient(t, at, 15).Get(ctx, "k").Result(); err != nil || v != "v" {
				t.Fatalf("k is %q, %v", v, err)
			}
			es, err := os.ReadDir(to.DataDir)
			must(t, err)
			for _, e := range es {
				if rdb := strings.HasSuffix(e.Name(), ".rdb"); rdb && c.source["appendonly"] == "yes" || e.IsDir() && c.source["appendonly"] == "no" {
					t.Errorf("%s would be read when the setting changes", e.Name())
				}
			}
		})
	}
}

// A base without a record of these settings restores as it always did.
func TestSourceOfAnOldOrOddRecord(t *testing.T) {
	s := sourceOf(targets.Artifact{Settings: map[string]string{"version": "7.0.15"}})
	if s.known || s.dirName != aofDir || s.fileName != aofName || s.databases != 0 {
		t.Errorf("old: %+v", s)
	}
	s = sourceOf(targets.Artifact{Settings: map[string]string{"appenddirname": "../x", "dbfilename": "a b", "databases": "-1",
		"rename-command.set": "x\nrequirepass y", "rename-command.a b": "c"}})
	if s.dirName != aofDir || s.dbFile != "dump.rdb" || s.databases != 0 || len(s.renames) != 0 {
		t.Errorf("odd: %+v", s)
	}
}

func TestImageMagic(t *testing.T) {
	for text, ok := range map[string]bool{"REDIS0011xyz": true, "VALKEY080xyz": true, "REDIS00x1": false, "<html><he": false, "-ERR nope": false} {
		_, err := io.ReadAll(&magicReader{Reader: bytes.NewReader([]byte(text))})
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
