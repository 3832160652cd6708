package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/schema"
	"go.temporal.io/server/schema/sqlite"
	_ "modernc.org/sqlite" // the database driver
)

const (
	databaseFile = "engine.db"
	lockFile     = "engine.lock"
	// formatVersion is of drctl's own use of the database.
	formatVersion = "1"
)

// stamp is what a database was written by. It lives in the database, so it
// changes in the same transaction as the schema.
type stamp struct{ format, schema, visibility, server string }

func current() stamp {
	return stamp{formatVersion, sqlite.Version, sqlite.VisibilityVersion, headers.ServerVersion}
}

// lockDir makes sure that one engine serves the directory. The lock goes with
// the process, however it ends.
func lockDir(dir string) (func(), error) {
	name := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, &problem{Code: "denied", Op: "engine: lock directory", Subject: dir, Message: err.Error()}
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		b, _ := io.ReadAll(io.LimitReader(f, 32))
		_ = f.Close()
		return nil, &problem{Code: "conflict", Op: "engine: lock directory", Subject: dir,
			Message: fmt.Sprintf("an engine with pid %s serves it", strings.TrimSpace(string(b))),
			Hint:    "stop that process first, or choose another directory"}
	}
	_ = f.Truncate(0)
	_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return func() { _ = f.Close() }, nil
}

// storeError gives an error of the database a code that says what to do.
func storeError(op, subject string, err error) error {
	code, hint := "internal", ""
	m := err.Error()
	switch {
	case strings.Contains(m, "disk is full") || strings.Contains(m, "no space left"):
		code, hint = "exhausted", "make room on the volume"
	case strings.Contains(m, "malformed") || strings.Contains(m, "not a database"):
		code, hint = "corrupt", "put back a copy of "+databaseFile+", or move the directory away: "+
			"schedules come back from the configuration and everything else from the vault"
	case strings.Contains(m, "readonly") || strings.Contains(m, "permission denied") || strings.Contains(m, "unable to open"):
		code, hint = "denied", "the engine's user must own the directory"
	}
	return &problem{Code: code, Op: op, Subject: subject, Message: m, Hint: hint}
}

func openStore(file string) (*sql.DB, error) {
	q := url.Values{"_pragma": {"journal_mode=wal", "synchronous=full", "busy_timeout=10000"}, "mode": {"rwc"}}
	db, err := sql.Open("sqlite", "file:"+file+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// prepareStore makes the database, or brings an older one to this schema
// after copying it, or refuses it.
func prepareStore(ctx context.Context, dir string, now time.Time, log *slog.Logger) (err error) {
	file := filepath.Join(dir, databaseFile)
	db, err := openStore(file)
	if err != nil {
		return storeError("engine: open database", file, err)
	}
	defer func() {
		if e := db.Close(); err == nil && e != nil {
			err = storeError("engine: close database", file, e)
		}
	}()
	have, empty, err := readStamp(ctx, db)
	if err != nil {
		return storeError("engine: read database", file, err)
	}
	if empty {
		if err := create(ctx, db); err != nil {
			return storeError("engine: create database", file, err)
		}
		return nil
	}
	want := current()
	if have == (stamp{}) {
		return &problem{Code: "conflict", Op: "engine: open database", Subject: file,
			Message: "it carries no stamp of drctl", Hint: "choose an empty directory"}
	}
	if newer(have.format, want.format) || newer(have.schema, want.schema) || newer(have.visibility, want.visibility) {
		return &problem{Code: "unsupported", Op: "engine: open database", Subject: file,
			Message: fmt.Sprintf("written by a newer engine (server %s, schema %s/%s; this one has %s/%s)",
				have.server, have.schema, have.visibility, want.schema, want.visibility),
			Hint: "use the newer drctl-engine, or put back the copy that it made before its upgrade"}
	}
	if have.format == want.format && have.schema == want.schema && have.visibility == want.visibility {
		if have.server != want.server {
			err = writeStamp(ctx, db, want)
		}
		return err
	}
	if have.visibility != want.visibility {
		return &problem{Code: "unsupported", Op: "engine: upgrade database", Subject: file,
			Message: fmt.Sprintf("no steps are known from visibility schema %s to %s", have.visibility, want.visibility),
			Hint:    "use the drctl-engine that wrote it"}
	}
	return upgrade(ctx, db, file, have, want, now, log)
}

func readStamp(ctx context.Context, db *sql.DB) (s stamp, empty bool, err error) {
	var tables, stamped int
	err = db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(name = 'drctl_stamp'), 0) FROM sqlite_master WHERE type = 'table'`).
		Scan(&tables, &stamped)
	if err != nil || tables == 0 {
		return s, err == nil, err
	}
	if stamped == 0 {
		return s, false, nil
	}
	err = db.QueryRowContext(ctx, `SELECT format, schema, visibility, server FROM drctl_stamp`).
		Scan(&s.format, &s.schema, &s.visibility, &s.server)
	return s, false, err
}

const makeStamp = `CREATE TABLE drctl_stamp (one INTEGER PRIMARY KEY CHECK (one = 1),
	format TEXT NOT NULL, schema TEXT NOT NULL, visibility TEXT NOT NULL, server TEXT NOT NULL)`

const putStamp = `INSERT OR REPLACE INTO drctl_stamp (one, format, schema, visibility, server) VALUES (1, ?, ?, ?, ?)`

func writeStamp(ctx context.Context, db *sql.DB, s stamp) error {
	_, err := db.ExecContext(ctx, putStamp, s.format, s.schema, s.visibility, s.server)
	if err != nil {
		return storeError("engine: stamp database", "", err)
	}
	return nil
}

// create lays the whole schema and the stamp down in one transaction.
func create(ctx context.Context, db *sql.DB) error {
	stmts, err := statements("sqlite/v3/temporal/schema.sql", "sqlite/v3/visibility/schema.sql")
	if err != nil {
		return err
	}
	return apply(ctx, db, append(stmts, makeStamp), current())
}

func apply(ctx context.Context, db *sql.DB, stmts []string, s stamp) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for _, q := range stmts {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("statement %.120q: %w", q, err)
		}
	}
	if _, err := tx.ExecContext(ctx, putStamp, s.format, s.schema, s.visibility, s.server); err != nil {
		return err
	}
	return tx.Commit()
}

// upgrade copies the database beside itself, then applies the server's own
// versioned steps in one transaction.
func upgrade(ctx context.Context, db *sql.DB, file string, have, want stamp, now time.Time, log *slog.Logger) error {
	const op = "engine: upgrade database"
	files, err := steps(schema.Assets(), "sqlite/v3/temporal/versioned", have.schema, want.schema)
	if err != nil {
		return &problem{Code: "unsupported", Op: op, Subject: file, Message: err.Error(), Hint: "use the drctl-engine that wrote it"}
	}
	stmts, err := statements(files...)
	if err != nil {
		return &problem{Code: "internal", Op: op, Subject: file, Message: err.Error()}
	}
	backup := fmt.Sprintf("%s.v%s.%s", file, have.schema, now.UTC().Format("20060102T150405.000Z"))
	if _, err := db.ExecContext(ctx, `VACUUM INTO ?`, backup); err != nil {
		_ = os.Remove(backup)
		return storeError("engine: copy database before the upgrade", backup, err)
	}
	if err := syncFile(backup); err != nil {
		return storeError("engine: copy database before the upgrade", backup, err)
	}
	if err := apply(ctx, db, stmts, want); err != nil {
		return storeError(op, file, err)
	}
	log.Info("database upgraded", "file", file, "from", have.schema, "to", want.schema, "copy", backup)
	return nil
}

func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

func statements(files ...string) ([]string, error) {
	readers := make([]io.Reader, 0, len(files))
	for _, name := range files {
		b, err := fs.ReadFile(schema.Assets(), name)
		if err != nil {
			return nil, err
		}
		readers = append(readers, strings.NewReader(string(b)))
	}
	return persistence.LoadAndSplitQueryFromReaders(readers)
}

// steps lists the SQL files that lead from one schema version to another, in order.
func steps(assets fs.FS, dir, from, to string) ([]string, error) {
	entries, err := fs.ReadDir(assets, dir)
	if err != nil {
		return nil, err
	}
	byVersion := map[string]string{}
	var versions []string
	for _, e := range entries {
		v := strings.TrimPrefix(e.Name(), "v")
		if e.IsDir() && newer(v, from) && !newer(v, to) {
			byVersion[v] = path.Join(dir, e.Name())
			versions = append(versions, v)
		}
	}
	sortVersions(versions)
	var files []string
	last := from
	for _, v := range versions {
		b, err := fs.ReadFile(assets, path.Join(byVersion[v], "manifest.json"))
		if err != nil {
			return nil, err
		}
		var m struct {
			CurrVersion          string
			SchemaUpdateCqlFiles []string
		}
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fmt.Errorf("schema step %s: %w", v, err)
		}
		for _, f := range m.SchemaUpdateCqlFiles {
			files = append(files, path.Join(byVersion[v], f))
		}
		last = v
	}
	if last != to {
		return nil, errors.New("no steps lead from schema " + from + " to " + to)
	}
	return files, nil
}
