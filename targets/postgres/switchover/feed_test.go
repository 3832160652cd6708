package switchover_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/localwal"
	"drctl/targets/postgres/postmaster"
)

// vault has the log of a directory, as an archive would, and may be damaged.
type vault struct {
	targets.Source
	log  *localwal.Log
	harm func(from uint64, b []byte) ([]byte, error)
}

func (v *vault) Log(_ context.Context, span targets.Span) (io.ReadCloser, error) {
	src := v.log.Bytes(span.From)
	defer src.Close()

	b, err := io.ReadAll(io.LimitReader(src, int64(span.To-span.From)))
	if err == nil && v.harm != nil {
		b, err = v.harm(span.From, b)
	}

	if err != nil && len(b) == 0 {
		return nil, err
	}

	return io.NopCloser(io.MultiReader(bytes.NewReader(b), &failing{err})), nil
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}

	return 0, f.err
}

// Trap 1 and 18: the vault has log that the standby never got. It is fed to its proven
// end before the promotion; whatever is missing on the way is an error and never the
// end, and half a record at the end is left out.
func TestTrap1And18AStandbyIsFedToTheProvenEndOrNotAtAll(t *testing.T) {
	t.Parallel()
	p := newPair(t, sandboxtest.Tools(t))
	ctx := p.context()

	p.exec(p.b, "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'")
	p.exec(p.b, "SELECT pg_reload_conf()")
	p.until(p.b, "SELECT count(*) = 0 FROM pg_stat_wal_receiver WHERE status = 'streaming'")

	p.exec(p.a, "INSERT INTO t (note) SELECT repeat('y', 900) FROM generate_series(1, 3000)")
	p.exec(p.a, "SELECT pg_switch_wal()")
	p.exec(p.a, "INSERT INTO t (note) SELECT repeat('z', 900) FROM generate_series(1, 3000)")
	end := stoppedNot(p).At
	p.exec(p.a, "INSERT INTO t (note) VALUES ('half a record')")
	p.kill(p.a)

	log, _, err := localwal.Of(p.a.DataDir)
	if err != nil {
		t.Fatal(err)
	}

	from, err := targets.ParseLSN(p.ask(p.b, "SELECT pg_last_wal_replay_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	end.Offset += 20 // of the next record
	req := handover.FeedRequest{Standby: p.b, To: end, Path: []targets.Span{{Timeline: end.Timeline, From: from, To: end.Offset}}}
	before := files(t, p.b.DataDir)

	for name, c := range map[string]struct {
		code fail.Code
		harm func(uint64, []byte) ([]byte, error)
	}{
		"a chunk is missing": {fail.NotFound, func(uint64, []byte) ([]byte, error) { return nil, fail.Newf(fail.NotFound, "log", "", "no chunk") }},
		"the tail is not to be had": {fail.Unavailable, func(_ uint64, b []byte) ([]byte, error) {
			return b[:len(b)-8192], fail.Newf(fail.Unavailable, "log", "", "503")
		}},
		"it ends early":     {fail.Corrupt, func(_ uint64, b []byte) ([]byte, error) { return b[:len(b)/2], nil }},
		"a byte is wrong":   {fail.Corrupt, func(_ uint64, b []byte) ([]byte, error) { b[len(b)-100_000] ^= 4; return b, nil }},
		"it is another log": {fail.Conflict, func(_ uint64, b []byte) ([]byte, error) { b[40] ^= 4; return b, nil }},
	} {
		req.Log = &vault{log: log, harm: c.harm}
		if _, err := p.d.Feed(ctx, req); !fail.Is(err, c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}

	if after := files(t, p.b.DataDir); !bytes.Equal(before, after) {
		t.Error("a log that was refused reached the standby")
	}

	req.Log = &vault{log: log}

	at, err := p.d.Feed(ctx, req)
	if err != nil || at.Offset > end.Offset || end.Offset-at.Offset > 64 {
		t.Fatalf("fed up to %v of %v: %v", at, end, err)
	}

	if again, err := p.d.Feed(ctx, req); err != nil || again != at {
		t.Errorf("fed again: %v, %v", again, err)
	}

	h := p.hands(p.a, p.b, 2)

	out, err := h.Promote(ctx, handover.PromoteRequest{Line: at, Exact: true, Silence: statement(p.a, 2)})
	if err != nil || out.Fork.Offset != at.Offset {
		t.Fatalf("promoted: %+v, %v", out, err)
	}

	p.exec(p.b, "INSERT INTO t (note) VALUES ('new')")
	p.kill(p.b)

	if _, err := postmaster.Start(ctx, p.b.DataDir); err != nil {
		t.Fatal(err)
	}

	if n := p.ask(p.b, "SELECT count(*) || ' ' || count(*) FILTER (WHERE note LIKE 'half%') FROM t"); n != "6001 0" {
		t.Errorf("the new primary has %s rows", n)
	}

	lost, err := p.d.Lost(ctx, handover.LossRequest{Old: p.a, Fork: out.Fork})
	if err != nil || !lost.Read || lost.Count == 0 {
		t.Errorf("lost: %+v, %v", lost, err)
	}
}

// files are the bytes of a standby's log.
func files(t *testing.T, dir string) (all []byte) {
	t.Helper()

	names, err := filepath.Glob(filepath.Join(dir, "pg_wal", "0*"))
	if err != nil || len(names) == 0 {
		t.Fatal(errors.Join(err, errors.New("no log")))
	}

	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}

	return all
}
