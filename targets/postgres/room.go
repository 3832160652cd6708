package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/targets"
)

// serverLacks says what of the server's settings stands in the way of the
// archiver and of bases: no right helps against it.
func (d *Driver) serverLacks(ctx context.Context, op string, in targets.Instance, conn *pgx.Conn) ([]targets.Lack, error) {
	if err := direct(ctx, op, in, conn); err != nil {
		return nil, err
	}
	var level, from string
	var version, senders, slots, sending, taken int
	var ours bool

	err := conn.QueryRow(ctx, `SELECT current_setting('wal_level'), current_setting('server_version_num')::int,
current_setting('max_wal_senders')::int, current_setting('max_replication_slots')::int,
(SELECT count(*) FROM pg_stat_replication)::int, (SELECT count(*) FROM pg_replication_slots)::int,
EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1), coalesce(inet_client_addr()::text, '')`, d.slot).
		Scan(&level, &version, &senders, &slots, &sending, &taken, &ours, &from)
	if err != nil {
		return nil, queryError(op, in, "", err)
	}

	var lacks []targets.Lack

	lack := func(what, fix string) {
		lacks = append(lacks, targets.Lack{What: what, For: "the archiver and bases over the wire", Fix: fix})
	}
	if level == "minimal" {
		lack("wal_level = replica", "ALTER SYSTEM SET wal_level = 'replica', and restart the server")
	}

	if sending >= senders {
		lack(fmt.Sprintf("a free WAL sender (%d of %d are in use)", sending, senders),
			fmt.Sprintf("ALTER SYSTEM SET max_wal_senders = %d, and restart the server", sending+4))
	}

	if taken >= slots && !ours {
		lack(fmt.Sprintf("a free replication slot (%d of %d are taken)", taken, slots),
			fmt.Sprintf("ALTER SYSTEM SET max_replication_slots = %d, and restart the server", taken+4))
	}

	if refused(ctx, op, in, version) {
		lack("a line for replication in pg_hba.conf",
			fmt.Sprintf("add to pg_hba.conf: host replication %s %s scram-sha-256, and SELECT pg_reload_conf()", quoteIdent(in.User), from))
	}

	return lacks, nil
}

// refused reports whether pg_hba.conf keeps replication out. The server looks
// there first: a role without the right gets past it, and what else is in the
// way has been said.
func refused(ctx context.Context, op string, in targets.Instance, version int) bool {
	conn, err := walsender(ctx, op, in, version)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 200*time.Millisecond)
		defer cancel()
		_ = conn.Close(ctx)

		return false
	}
	var said *serverError

	return errors.As(err, &said) && said.code == "28000"
}
