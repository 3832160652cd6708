package loss

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"drctl/targets"
)

// Connect opens a session with a server, for an operation.
type Connect func(ctx context.Context, op string, in targets.Instance) (*pgx.Conn, error)

// names asks a server for the names of tables by their files: "database.schema.table".
// A file that it does not know is left out.
func names(ctx context.Context, files []File, in targets.Instance, connect Connect) (map[File]string, error) {
	conn, err := connect(ctx, op, in)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))

	byDatabase := map[uint32][]File{}
	for _, f := range files {
		byDatabase[f.Database] = append(byDatabase[f.Database], f)
	}

	out := map[File]string{}
	var errs []error

	for id, of := range byDatabase {
		var name string

		err := conn.QueryRow(ctx, "SELECT datname FROM pg_catalog.pg_database WHERE oid = $1 AND datallowconn", id).Scan(&name)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}

		if err == nil {
			in.Database = name
			err = namesIn(ctx, in, of, connect, out)
		}
		errs = append(errs, err)
	}

	return out, errors.Join(errs...)
}

func namesIn(ctx context.Context, in targets.Instance, files []File, connect Connect, out map[File]string) error {
	conn, err := connect(ctx, op, in)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))

	for _, f := range files {
		var name string

		// In its database's own tablespace a table has the tablespace 0. A TOAST table is told
		// by the table that it is of: its rows are parts of values.
		err := conn.QueryRow(ctx, `SELECT n.nspname || '.' || coalesce(o.relname || ' (TOAST)', c.relname) FROM pg_catalog.pg_class c
			LEFT JOIN pg_catalog.pg_class o ON o.reltoastrelid = c.oid JOIN pg_catalog.pg_namespace n ON n.oid = coalesce(o.relnamespace, c.relnamespace)
			WHERE c.oid = pg_catalog.pg_filenode_relation((SELECT CASE WHEN dattablespace = $1 THEN 0 ELSE $1 END::oid FROM pg_catalog.pg_database
				WHERE datname = pg_catalog.current_database()), $2)`, f.Space, f.File).Scan(&name)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}

		if err != nil {
			return err
		}
		out[f] = in.Database + "." + name
	}

	return nil
}
