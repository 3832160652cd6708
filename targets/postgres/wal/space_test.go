package wal_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/postgres/wal"
)

// What was made of tablespaces is in the log of every version as clients know it, and as the
// server's own readers print it: pg_waldump, which comes with one version here, and pg_walinspect.
func TestSpaces(t *testing.T) {
	for _, major := range sandboxtest.Majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			tools := sandboxtest.ToolsOf(t, major)
			more := map[string]string{}

			if major >= 15 {
				more["allow_in_place_tablespaces"] = "on"
			}
			c := newCluster(t, tools, 1<<20, more)
			conn := c.connect(t)
			want := makeSpaces(t, conn, func(dir string) error { return tools.RunAs.Own(dir) }, major >= 15)
			s := c.finish(t)
			o := s.options()
			o.All = true

			r, err := wal.NewReader(s.open(t, s.start), o)
			if err != nil {
				t.Fatal(err)
			}

			var (
				got    []string
				pages  int
				places []wal.Record
			)

			for {
				rec, err := r.Next()
				if err != nil {
					break
				}

				x, ok, err := rec.Space()
				if err != nil {
					t.Fatal(err)
				}

				if places = append(places, rec); !ok {
					continue
				}

				if rec.Start/wal.PageSize != rec.End/wal.PageSize {
					pages++
				}
				got = append(got, said(x))
			}

			if !slices.Equal(got, want) {
				t.Errorf("read\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}

			if pages == 0 {
				t.Error("no record goes over a page")
			}

			if major == 15 {
				var lines []string
				for _, d := range dump(t, s) {
					if d.manager == "Tablespace" {
						lines = append(lines, d.desc)
					}
				}

				if !slices.Equal(got, lines) {
					t.Errorf("read\n%s\npg_waldump says\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
				}
			}

			if major >= 15 {
				if seen := inspected(t, c.connect(t), places); !slices.Equal(got, seen) {
					t.Errorf("read\n%s\nthe server says\n%s", strings.Join(got, "\n"), strings.Join(seen, "\n"))
				}
			}
		})
	}
}

// said is a record as the server's readers print it.
func said(x wal.Space) string {
	if !x.Made {
		return fmt.Sprintf("DROP %d", x.OID)
	}

	return fmt.Sprintf("CREATE %d \"%s\"", x.OID, x.Location)
}

// makeSpaces makes tablespaces at places of many lengths, removes some of them, and tells what the
// log has to say.
func makeSpaces(t *testing.T, conn *pgx.Conn, own func(string) error, inPlace bool) (want []string) {
	t.Helper()
	dir := sandboxtest.Dir(t)
	here := func() uint64 { return uint64(lsn(t, ask(t, conn, "SELECT pg_current_wal_insert_lsn()::text"))) }
	took := uint64(0) // what a long one wrote

	for i := range 24 {
		path := filepath.Join(dir, fmt.Sprintf(`its "%d"`, i))
		for range i % 6 {
			path = filepath.Join(path, strings.Repeat("d", 150))
		}

		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}

		for p := path; p != filepath.Dir(dir); p = filepath.Dir(p) {
			if err := own(p); err != nil {
				t.Fatal(err)
			}
		}

		if inPlace && i == 10 {
			path = ""
		}

		if i%6 == 5 && took > 0 { // its record, which is the last but one, is to go over a page
			const head = 55 // of the message

			left := 2*wal.PageSize - (here()+took-600)%wal.PageSize
			do(t, conn, "SELECT pg_logical_emit_message(false, 'x', repeat('y', $1))", left-head)
		}

		began := here()

		do(t, conn, fmt.Sprintf("CREATE TABLESPACE s%d LOCATION '%s'", i, path))

		if i%6 == 5 {
			took = here() - began
		}

		oid := ask(t, conn, fmt.Sprintf("SELECT oid::text FROM pg_tablespace WHERE spcname = 's%d'", i))
		want = append(want, fmt.Sprintf("CREATE %s \"%s\"", oid, path))

		if i%3 == 0 {
			do(t, conn, fmt.Sprintf("DROP TABLESPACE s%d", i))
			want = append(want, "DROP "+oid)
		}
	}

	return want
}

// inspected is what pg_walinspect says of tablespaces between the first and the last record.
func inspected(t *testing.T, conn *pgx.Conn, all []wal.Record) (out []string) {
	t.Helper()
	do(t, conn, "CREATE EXTENSION IF NOT EXISTS pg_walinspect")

	rows, err := conn.Query(context.Background(), `SELECT record_type || ' ' || description FROM pg_get_wal_records_info($1::text::pg_lsn, $2::text::pg_lsn) WHERE resource_manager = 'Tablespace'`,
		all[0].Start.String(), all[len(all)-1].End.String())
	if err != nil {
		t.Fatal(err)
	}

	out, err = pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}

	return out
}

// A record about a tablespace whose bytes make no sense is damage, and never one that says nothing.
func TestSpacesThatMakeNoSense(t *testing.T) {
	t.Parallel()

	for name, c := range map[string]struct {
		info uint8
		main []byte
		ok   bool
	}{
		"made":                     {0x00, []byte("\x07\x40\x00\x00/a\x00"), true},
		"made in place":            {0x00, []byte("\x07\x40\x00\x00\x00"), true},
		"removed":                  {0x10, []byte("\x07\x40\x00\x00"), true},
		"without an end":           {0x00, []byte("\x07\x40\x00\x00/a"), false},
		"with more behind its end": {0x00, []byte("\x07\x40\x00\x00/a\x00b\x00"), false},
		"without a location":       {0x00, []byte("\x07\x40\x00\x00"), false},
		"without an identifier":    {0x10, []byte("\x07\x40"), false},
		"of no tablespace":         {0x10, []byte("\x00\x00\x00\x00"), false},
		"of another kind":          {0x20, []byte("\x07\x40\x00\x00"), false},
	} {
		f := &forged{major: 15}
		f.add(5, c.info, 700, c.main)

		r, err := wal.NewReader(bytes.NewReader(f.b), wal.Options{Start: forgedStart, All: true})
		if err != nil {
			t.Fatal(err)
		}

		rec, err := r.Next()
		if err != nil {
			t.Fatal(name, err)
		}

		x, ok, err := rec.Space()
		if ok != c.ok || (err == nil) != c.ok || err != nil && !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s: %+v, %t, %v", name, x, ok, err)
		}
	}
}
