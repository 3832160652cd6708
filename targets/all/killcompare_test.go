package all_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/proc"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/stream"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
	"drctl/targets/redis"
)

func (k *killers) postgresEnd() targets.Position {
	k.t.Helper()
	c, err := pgx.Connect(k.ctx, sandboxtest.DSN(k.pg, k.pg.Database))

	k.must(err)
	defer func() { _ = c.Close(k.ctx) }()
	var at, system string
	k.must(c.QueryRow(k.ctx, "SELECT pg_current_wal_flush_lsn()::text, (SELECT system_identifier::text FROM pg_control_system())").Scan(&at, &system))
	off, err := targets.ParseLSN(at)
	k.must(err)

	return targets.Position{Kind: targets.Postgres, Timeline: targets.PostgresTimeline(system, 1), Offset: off}
}

// sameAsPostgres compares everything that a vault holds of PostgreSQL's log
// with the files in pg_wal.
func (k *killers) sameAsPostgres(v *vault.Vault, end targets.Position) {
	k.t.Helper()
	const segment = 16 << 20
	ls, err := stream.Load(k.ctx, v, k.pg.Shard)
	k.must(err)

	if len(ls) != 1 || ls[0].ID != end.Timeline {
		k.t.Fatalf("%s: timelines %+v", v.Region(), ls)
	}
	chunks := slices.Clone(ls[0].Chunks)
	slices.SortFunc(chunks, func(a, b timeline.Chunk) int { return int(int64(a.From) - int64(b.From)) })

	at := chunks[0].From
	if at%segment != 0 || at != ls[0].Offset {
		k.t.Errorf("%s: the stream begins at %s", v.Region(), targets.FormatLSN(at))
	}
	// Several chunks are on their way at once. A kill can keep one from the
	// vault and let a later one arrive; the next archiver resumes at the gap and
	// stores the later bytes again. Such a chunk must hold the same bytes as
	// every other one, so each is compared by itself.
	overlaps := 0
	for _, c := range chunks {
		if c.From > at {
			k.t.Errorf("%s: after byte %d comes %s", v.Region(), at, c.Key)
		}

		if c.From < at {
			overlaps++
		}
		at = max(at, c.To)
		body, _, err := v.ReadEncrypted(k.ctx, c.Key)
		k.must(err)

		if !bytes.Equal(body, k.serverLog(c.From, c.To)) {
			k.t.Errorf("%s: %s is not what the server's files hold", v.Region(), c.Key)
		}
	}
	r, err := stream.NewReader(v, k.pg.Shard).Log(k.ctx, targets.Span{Timeline: end.Timeline, From: chunks[0].From, To: end.Offset})
	k.must(err)

	defer r.Close()

	files := 0
	for at := chunks[0].From; at < end.Offset; {
		n := min(at-at%segment+segment, end.Offset) - at

		got := make([]byte, n)
		if _, err := io.ReadFull(r, got); err != nil {
			k.t.Fatal(err)
		}

		if !bytes.Equal(got, k.serverLog(at, at+n)) {
			k.t.Fatalf("%s: the reader differs from the server's files at %s", v.Region(), targets.FormatLSN(at))
		}
		at += n
		files++
	}

	if n, err := io.Copy(io.Discard, r); n > 0 || err != nil {
		k.t.Errorf("%s: %d bytes follow the end (%v)", v.Region(), n, err)
	}

	k.t.Logf("%s: %d bytes in %d chunks, %d of them overlapping, are those of %d segment files", v.Region(), end.Offset-chunks[0].From, len(chunks), overlaps, files)
}

// serverLog reads a range of timeline 1 from the server's own segment files.
func (k *killers) serverLog(from, to uint64) []byte {
	k.t.Helper()
	const segment = 16 << 20

	out := make([]byte, 0, to-from)
	for at := from; at < to; {
		n := min(at-at%segment+segment, to) - at
		file, err := os.ReadFile(filepath.Join(k.pg.DataDir, "pg_wal", fmt.Sprintf("%08X%08X%08X", 1, at>>32, at%(1<<32)/segment)))
		k.must(err)
		out = append(out, file[at%segment:at%segment+n]...)
		at += n
	}

	return out
}

// sameAsReplica restores a position from each vault alone and compares.
func (k *killers) sameAsReplica(x truth) {
	k.t.Helper()

	for _, v := range k.set.Vaults {
		ls, err := stream.Load(k.ctx, v, k.redis.Shard)
		k.must(err)
		bases, err := v.Bases(k.ctx, k.redis.Shard)
		k.must(err)
		slices.SortFunc(bases, func(a, b targets.Artifact) int { return b.Finished.Compare(a.Finished) })

		req := targets.RestoreRequest{Point: x.at, WorkDir: sandboxtest.Dir(k.t)}
		for _, b := range bases {
			if path, err := timeline.Path(ls, b.From, x.at); err == nil {
				req.Base, req.Path = b, path
				break
			}
		}

		if req.Base.ID == "" {
			k.t.Fatalf("%s: no base leads to %+v", v.Region(), x.at)
		}
		in := targets.Instance{Kind: targets.Redis, Shard: k.redis.Shard, Role: targets.Sandbox, Password: targets.NewSecret(sandboxtest.Password),
			DataDir: filepath.Join(req.WorkDir, "data")}
		// Not detached: the server ends with this process.
		out, err := redis.New(redis.Options{Tools: sandboxtest.Tools(k.t)}).Restore(k.ctx, in, req, stream.NewSource(v, k.redis.Shard))
		if id, serr := proc.Of(out.Pid); serr == nil {
			k.t.Cleanup(func() { _ = id.Kill() })
		}

		k.must(err)
		in.Address, in.Password = out.Address, out.Password
		// The restored server has no DEBUG command; a replica of it has.
		copied := k.client(sandboxtest.RedisReplica(k.t, in, sandboxtest.RedisOptions{}))
		for end := time.Now().Add(2 * time.Minute); replication(k.ctx, copied)["master_link_status"] != "up"; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				k.t.Fatal("the restored server cannot be looked into")
			}
		}
		keys, err := copied.DBSize(k.ctx).Result()
		k.must(err)

		if got := digestOf(k.t, k.ctx, copied); got != x.digest || keys != x.keys || keys == 0 {
			k.t.Errorf("%s: restored at %s:%d are %d keys with digest %s, the replica held %d with %s", v.Region(), x.at.Timeline, x.at.Offset, keys, got, x.keys, x.digest)
		}
	}
}
