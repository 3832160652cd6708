package wal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/postgres/wal"
)

// tagPart says that tx is one of so many parts of a global transaction.
func tagPart(ctx context.Context, tx pgx.Tx, id string, parts int) error {
	_, err := tx.Exec(ctx, `SELECT pg_logical_emit_message(true, 'drctl/global', $1::text)`, fmt.Sprintf("%s/%d", id, parts))
	return err
}

// page is docs/tagging.md.
type page struct{ text, self string }

func readPage(t *testing.T) page {
	t.Helper()

	text, err := os.ReadFile("../../../docs/tagging.md")
	if err != nil {
		t.Fatal(err)
	}

	self, err := os.ReadFile("tagdoc_test.go")
	if err != nil {
		t.Fatal(err)
	}

	return page{string(text), string(self)}
}

// blocks are the page's blocks of a language.
func (p page) blocks(t *testing.T, language string) (out []string) {
	t.Helper()

	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(p.text, -1) {
		out = append(out, m[1])
	}

	if len(out) == 0 {
		t.Fatalf("docs/tagging.md has nothing in %s", language)
	}

	return out
}

// languages have one snippet each.
var languages = []string{"go", "java", "python", "ruby", "javascript", "php"}

// statement is the SQL of a snippet, with a value in place of its parameter.
func (p page) statement(t *testing.T, language string) string {
	t.Helper()

	sql := regexp.MustCompile("[\"`](SELECT pg_logical_emit_message[^\"`]*)[\"`]").FindStringSubmatch(p.blocks(t, language)[0])
	if sql == nil {
		t.Fatalf("the snippet for %s has no statement", language)
	}

	out := regexp.MustCompile(`\$1|\?|%s`).ReplaceAllString(sql[1], "'"+language+"/2'")
	if out == sql[1] {
		t.Fatalf("the statement for %s takes no parameter: %s", language, out)
	}

	return out
}

// TestTagsAsDocumented runs the SQL of docs/tagging.md, and the statement of every
// snippet, as a role without privileges, and reads all tags back from the log.
func TestTagsAsDocumented(t *testing.T) {
	p := readPage(t)
	if snippet := p.blocks(t, "go")[0]; !strings.Contains(p.self, snippet) {
		t.Errorf("the snippet for Go is not the function that this test runs:\n%s", snippet)
	}

	for _, major := range sandboxtest.Majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()

			c := newCluster(t, sandboxtest.ToolsOf(t, major), 1<<20, map[string]string{"wal_level": []string{"minimal", "replica", "logical"}[major%3], "max_wal_senders": "0"})
			super := c.connect(t)
			do(t, super, "CREATE TABLE work (n int); CREATE ROLE app; GRANT INSERT ON work TO app; CREATE ROLE other")

			app := c.connect(t)
			want := runPage(t, p, super, app)

			s := c.finish(t)
			e := decided(t, s.open(t, s.start), s.options())

			var got, gids []string
			for _, x := range e.transactions {
				if x.Outcome == wal.CommittedPrepared {
					gids = append(gids, x.GID)
				}

				for _, m := range x.Tags {
					if x.Outcome != wal.Committed || m.Prefix != "drctl/global" {
						continue
					}
					got = append(got, m.Content)
				}
			}

			if !slices.Equal(got, want) {
				t.Errorf("the log has the tags %q, want %q", got, want)
			}

			rule := regexp.MustCompile(regexp.MustCompile("`(\\^shop[^`]*)`").FindStringSubmatch(p.text)[1])
			if len(gids) != 1 || !strings.Contains(p.text, "`"+gids[0]+"`") || rule.FindStringSubmatch(gids[0])[1] != "4714" || rule.FindStringSubmatch("shop-4714-1")[1] != "4714" {
				t.Errorf("the log has the gids %q, and the page's rule is %s", gids, rule)
			}
		})
	}
}

// runPage runs everything as the page says, and returns the tags that it writes.
func runPage(t *testing.T, p page, super, app *pgx.Conn) (want []string) {
	ctx := t.Context()
	content := regexp.MustCompile(`'drctl/global', (?:CAST\()?'([^']*)'`)
	called := regexp.MustCompile(`drctl_tag\('([^']*)', (\d+)\)`)

	within := func(sql string) {
		do(t, app, "BEGIN")
		do(t, app, "INSERT INTO work VALUES (1)")
		do(t, app, sql)
		do(t, app, "COMMIT")

		if m := content.FindStringSubmatch(sql); m != nil {
			want = append(want, m[1])
		} else if m := called.FindStringSubmatch(sql); m != nil {
			want = append(want, m[1]+"/"+m[2])
		} else {
			t.Errorf("the page has a statement that is no tag: %s", sql)
		}
	}

	do(t, app, "SET ROLE app")

	for _, block := range p.blocks(t, "sql") {
		switch {
		case strings.HasPrefix(block, "CREATE"):
			do(t, super, block)
		case strings.HasPrefix(block, "PREPARE"):
			do(t, app, "BEGIN")
			do(t, app, "INSERT INTO work VALUES (2)")

			for sql := range strings.Lines(block) {
				do(t, app, sql)
			}
		default:
			for sql := range strings.Lines(block) {
				within(sql)
			}
		}
	}

	for _, language := range languages {
		within(p.statement(t, language))
	}

	err := pgx.BeginFunc(ctx, app, func(tx pgx.Tx) error { return tagPart(ctx, tx, "function", 3) })
	if err != nil {
		t.Fatal(err)
	}

	do(t, app, "BEGIN")
	do(t, app, "SELECT drctl_tag('rolled-back', 2)")
	do(t, app, "ROLLBACK")

	for _, wrong := range []string{"NULL, 2", "'', 2", "'x', NULL", "'x', 0"} {
		refused(t, app, "SELECT drctl_tag("+wrong+")", "22023")
	}

	do(t, super, "SET ROLE other")
	refused(t, super, "SELECT drctl_tag('stranger', 2)", "42501")
	do(t, super, "RESET ROLE")

	return append(want, "function/3")
}

func refused(t *testing.T, conn *pgx.Conn, sql, code string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)

	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: %v, want %s", sql, err, code)
	}
}
