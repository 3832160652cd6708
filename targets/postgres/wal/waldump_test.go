package wal_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/postgres/wal"
)

// A dumped record is a line of pg_waldump.
type dumped struct {
	start, prev wal.LSN
	xid, length uint32
	manager     string
	desc        string
}

var line = regexp.MustCompile(`^rmgr: (\S+) +len \(rec/tot\): +\d+/ *(\d+), tx: +(\d+), lsn: ([0-9A-F/]+), prev ([0-9A-F/]+), desc: (.*)$`)

// dump lets pg_waldump read the segments of a stretch.
func dump(t testing.TB, s stretch) (out []dumped) {
	t.Helper()

	program, err := sandboxtest.Tools(t).PG("pg_waldump")
	if err != nil {
		t.Fatal(err)
	}

	// It stops with an error where the log ends; what it printed counts.
	cmd := exec.Command(program, s.files[0], filepath.Base(s.files[len(s.files)-1]))
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	b, _ := cmd.Output()

	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, 64<<20)

	for sc.Scan() {
		m := line.FindStringSubmatch(sc.Text())
		if m == nil {
			t.Fatalf("pg_waldump says %.200q", sc.Text())
		}

		d := dumped{start: lsn(t, m[4]), prev: lsn(t, m[5]), manager: m[1], desc: m[6]}
		if _, err := fmt.Sscan(m[2]+" "+m[3], &d.length, &d.xid); err != nil {
			t.Fatal(err)
		}
		out = append(out, d)
	}

	return out
}

// The log of PostgreSQL 15 is, record by record, what pg_waldump prints, and
// each commit says the same as its line.
func TestWaldump(t *testing.T) {
	for _, segment := range []uint64{16 << 20, 64 << 20} {
		t.Run(fmt.Sprint(segment>>20), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, sandboxtest.Tools(t), segment, map[string]string{"wal_level": "logical"})

			var d diary
			c.load(t, &d, segment, 4, 40)
			s := c.finish(t)

			o := s.options()
			o.All = true

			r, err := wal.NewReader(s.open(t, s.start), o)
			if err != nil {
				t.Fatal(err)
			}

			lines, commits := dump(t, s), 0
			for i, want := range lines {
				rec, err := r.Next()
				if err != nil {
					t.Fatalf("record %d of %d: %v", i, len(lines), err)
				}

				if rec.Start != want.start || rec.Previous != want.prev || rec.XID != want.xid || rec.Length != want.length || managers[rec.Manager] != want.manager {
					t.Fatalf("record %d: %+v, pg_waldump says %+v", i, rec, want)
				}

				if describe(t, rec, want.desc) {
					commits++
				}
			}

			if rec, err := r.Next(); err == nil {
				t.Errorf("a record at %v that pg_waldump does not know", rec.Start)
			}

			if commits < 150 {
				t.Errorf("%d commits were compared", commits)
			}

			t.Logf("%d records, %d decisions", len(lines), commits)
		})
	}
}

// describe compares a decision with what pg_waldump says of it, and reports
// whether it is one.
func describe(t *testing.T, rec wal.Record, desc string) bool {
	t.Helper()

	verb := map[wal.Kind]string{wal.Commit: "COMMIT", wal.Abort: "ABORT", wal.Prepare: "PREPARE",
		wal.CommitPrepared: "COMMIT_PREPARED", wal.AbortPrepared: "ROLLBACK_PREPARED"}[rec.Kind]
	if verb == "" {
		return false
	}

	d, err := rec.Decision()
	if err != nil {
		t.Fatal(err)
	}

	verb = strings.ReplaceAll(verb, "ROLLBACK_", "ABORT_")

	want := verb + " " + d.Stamp.Format("2006-01-02 15:04:05.000000 ") + "UTC"
	switch rec.Kind {
	case wal.Prepare:
		want = fmt.Sprintf("PREPARE gid %s: %s", d.GID, strings.TrimPrefix(want, "PREPARE "))
	case wal.CommitPrepared, wal.AbortPrepared:
		want = fmt.Sprintf("%s %d: %s", verb, d.XID, strings.TrimPrefix(want, verb+" "))
	}

	if !strings.HasPrefix(desc, want) {
		t.Errorf("%v: %q, pg_waldump says %q", rec.Start, want, desc)
	}

	if _, list, found := strings.Cut(desc, "subxacts:"); found || len(d.Subtransactions) > 0 {
		list, _, _ = strings.Cut(list, ";")
		if got := strings.Trim(fmt.Sprint(d.Subtransactions), "[]"); got != strings.TrimSpace(list) {
			t.Errorf("%v: subtransactions %s, pg_waldump says %s", rec.Start, got, list)
		}
	}

	return true
}
