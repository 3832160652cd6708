package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/targets"
	"drctl/targets/postgres/indoubt"
)

// resolve ends the transactions that are prepared at the point, as the cut says,
// before anybody uses the server.
func (r *restoreRun) resolve(ctx context.Context) error {
	want := indoubt.Want{List: r.req.InDoubt, Since: r.req.InDoubtSince}

	var user string // of the first session
	open := func(ctx context.Context, database string) (*pgx.Conn, error) {
		if database != "" {
			return r.local(ctx, user, database)
		}

		conn, err := r.superuser(ctx)
		if err != nil {
			conn, err = r.connectAnyRole(ctx) // it may be the owner of what is prepared
		}

		if err == nil {
			user = conn.Config().User
		}

		return conn, err
	}

	found, err := indoubt.Resolve(ctx, indoubt.Server{Subject: r.in.String(), Open: open,
		Ended: func(done, total int64) { r.req.Progress.Report("resolve", done, total) }}, want)
	if errors.Is(err, errNoLogin) {
		found, err = indoubt.Unable(r.in.String(), want, err), nil
	}
	r.out.Findings = append(r.out.Findings, found...)

	return queryError(opRestore, r.in, "", err)
}

// prepared looks for two-phase transactions that are in doubt. A cut that was taken
// by locks quiesces the tables of its own database, so that none has written there.
// Elsewhere in the cluster, and at an instant, one may have been in flight.
func (v *verification) prepared(ctx context.Context) error {
	start := time.Now()
	want := indoubt.Want{List: v.want.InDoubt, Since: v.want.InDoubtSince}

	var oids []uint32
	if v.in.Role == targets.Sandbox && !v.want.Instant && !want.Proven() {
		var err error
		if oids, err = v.quiesced(ctx); err != nil {
			return err
		}
	}

	all, err := indoubt.List(ctx, v.conn, oids)
	if err != nil {
		return queryError(opVerify, v.in, "", err)
	}

	f := indoubt.Judge(all, want)
	f.Subject, f.Took = v.in.String(), time.Since(start)
	v.out = append(v.out, f)

	return nil
}

// quiesced are the tables that a cut quiesces, of those that are there: one of the
// configured list may be younger than the cut.
func (v *verification) quiesced(ctx context.Context) ([]uint32, error) {
	in := v.in
	if len(in.Tables) > 0 {
		missing, err := missingTables(ctx, v.conn, in.Tables)
		if err != nil {
			return nil, queryError(opVerify, in, "", err)
		}

		in.Tables = slices.DeleteFunc(slices.Clone(in.Tables), func(t string) bool { return slices.Contains(missing, t) })
		if len(in.Tables) == 0 {
			return nil, nil
		}
	}

	tables, err := quiesceTables(ctx, opVerify, in, v.conn, v.srv.version)
	if err != nil {
		return nil, err
	}

	return oidsOf(tables), nil
}
