package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"go.temporal.io/server/schema"
	"go.temporal.io/server/schema/sqlite"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func prepare(dir string) error {
	return prepareStore(context.Background(), dir, at, slog.New(slog.DiscardHandler))
}

func made(t *testing.T, stmts ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := prepare(dir); err != nil {
		t.Fatal(err)
	}
	db := opened(t, filepath.Join(dir, databaseFile))
	for _, q := range stmts {
		if _, err := db.Exec(q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func opened(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := openStore(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func code(err error) string {
	var p *problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

func TestFreshStoreIsStamped(t *testing.T) {
	dir := made(t)
	for range 2 { // and opening it again changes nothing
		if err := prepare(dir); err != nil {
			t.Fatal(err)
		}
		s, _, err := readStamp(t.Context(), opened(t, filepath.Join(dir, databaseFile)))
		if err != nil || s != current() {
			t.Fatalf("stamp %+v, %v", s, err)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(dir, databaseFile+".v*")); len(files) > 0 {
		t.Fatalf("copies without an upgrade: %v", files)
	}
}

func TestNewerStoreIsRefused(t *testing.T) {
	for _, col := range []string{"format", "schema", "visibility"} {
		dir := made(t, "UPDATE drctl_stamp SET "+col+" = '99.1'")
		before, _ := os.ReadFile(filepath.Join(dir, databaseFile))
		err := prepare(dir)
		if code(err) != "unsupported" || !strings.Contains(err.Error(), "newer") {
			t.Errorf("%s: got %v", col, err)
		}
		if after, _ := os.ReadFile(filepath.Join(dir, databaseFile)); !bytes.Equal(before, after) {
			t.Errorf("%s: the refused file was changed", col)
		}
	}
}

func TestForeignAndOldVisibilityAreRefused(t *testing.T) {
	if err := prepare(made(t, "DROP TABLE drctl_stamp")); code(err) != "conflict" {
		t.Errorf("no stamp: %v", err)
	}
	if err := prepare(made(t, "UPDATE drctl_stamp SET visibility = '0.0'")); code(err) != "unsupported" {
		t.Errorf("no steps: %v", err)
	}
}

func TestOlderStoreIsCopiedThenUpgraded(t *testing.T) {
	if sqlite.Version != "0.11" {
		t.Fatalf("schema %s: make this test undo its newest step", sqlite.Version)
	}
	dir := made(t, "DROP TABLE current_chasm_executions", "UPDATE drctl_stamp SET schema = '0.10', server = '1.31.0'")
	if err := prepare(dir); err != nil {
		t.Fatal(err)
	}
	db := opened(t, filepath.Join(dir, databaseFile))
	if s, _, err := readStamp(t.Context(), db); err != nil || s != current() {
		t.Errorf("stamp after the upgrade: %+v, %v", s, err)
	}
	if _, err := db.Exec("SELECT count(*) FROM current_chasm_executions"); err != nil {
		t.Error(err)
	}
	old := opened(t, filepath.Join(dir, databaseFile+".v0.10.20260102T030405.000Z"))
	if s, _, err := readStamp(t.Context(), old); err != nil || s.schema != "0.10" || s.server != "1.31.0" {
		t.Errorf("stamp of the copy: %+v, %v", s, err)
	}
}

func TestFailedUpgradeChangesNothing(t *testing.T) {
	dir := made(t, "UPDATE drctl_stamp SET schema = '0.10'") // its step will find the table there
	if err := prepare(dir); err == nil {
		t.Fatal("no error")
	}
	if s, _, err := readStamp(t.Context(), opened(t, filepath.Join(dir, databaseFile))); err != nil || s.schema != "0.10" {
		t.Errorf("stamp %+v, %v", s, err)
	}
}

func TestSteps(t *testing.T) {
	got, err := steps(schema.Assets(), "sqlite/v3/temporal/versioned", "0.8", sqlite.Version)
	if err != nil || len(got) < 3 || !strings.Contains(got[0], "v0.9/") || !strings.Contains(got[1], "v0.10/") {
		t.Errorf("got %v, %v", got, err)
	}
	hole := fstest.MapFS{"s/v0.2/manifest.json": {Data: []byte(`{"CurrVersion":"0.2"}`)}}
	if _, err := steps(hole, "s", "0.1", "0.3"); err == nil {
		t.Error("steps that do not reach the version were taken")
	}
	if !newer("0.10", "0.9") || newer("0.9", "0.10") || newer("1", "1.0") || !newer("0.x", "0.9") {
		t.Error("versions compare wrongly")
	}
}

func TestOneEnginePerDirectory(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); code(err) != "conflict" {
		t.Errorf("a second lock: %v", err)
	}
	unlock()
	if unlock, err = lockDir(dir); err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--dir", "x", "more"}, {"--dir", "x", "--port", "70000"}, {"--dir", "x", "--namespace", "a b"},
		{"--dir", "x", "--retention", "1h"}, {"--dir", "x", "--metrics", "0.0.0.0:1"}, {"--nonsense"},
	} {
		var out, errs bytes.Buffer
		if rc := run(args, strings.NewReader(""), &out, &errs); rc != 2 || errs.Len() == 0 {
			t.Errorf("%v: exit %d, %q", args, rc, errs.String())
		}
	}
}

// The parent reads why from the same line on which it waits for the address.
func TestRefusalIsOneJSONLine(t *testing.T) {
	dir := made(t, "UPDATE drctl_stamp SET schema = '99.1'")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	var out, errs bytes.Buffer
	if rc := run([]string{"--dir", dir}, r, &out, &errs); rc != 1 {
		t.Fatalf("exit %d", rc)
	}
	var m struct{ Error problem }
	if err := json.Unmarshal(out.Bytes(), &m); err != nil || m.Error.Code != "unsupported" || m.Error.Hint == "" {
		t.Fatalf("got %q, %v", out.String(), err)
	}
}
