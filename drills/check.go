package drills

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/big"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/assert"
)

// Row is one row as text; nil is NULL.
type Row []*string

// Querier answers read-only queries on one restored instance. The rows stream:
// memory does not grow with their number. A row's memory is the caller's. An
// error that the server gave as its answer to the query (a missing table) has
// code invalid: it says something about the restored data. Any other error
// means that the question could not be asked.
type Querier interface {
	Rows(ctx context.Context, sql string) iter.Seq2[Row, error]
	String() string // names the instance, without secrets
}

// Objects opens restored objects. A missing one is an error of code not-found.
type Objects interface {
	Open(ctx context.Context, key string) (io.ReadCloser, error)
	String() string
}

// QueryHash is the SHA-256 of a query's text in hex, as it stands in findings.
func QueryHash(query string) string {
	h := sha256.Sum256([]byte(query))
	return hex.EncodeToString(h[:])
}

// first returns the first column of the first row; nil for NULL or no row.
func first(ctx context.Context, q Querier, sql string) (value *string, rows bool, err error) {
	for row, err := range q.Rows(ctx, sql) {
		if err != nil {
			return nil, false, err
		}

		if len(row) == 0 {
			return nil, true, nil
		}

		return row[0], true, nil
	}

	return nil, false, nil
}

// RunSum adds one number of every shard and compares the sum, exactly. A shard
// whose answer is no number, that returns nothing (no row or NULL: its tables may
// be empty), or that refuses the query, is a failed finding.
func RunSum(ctx context.Context, s Sum, shards []Querier) (targets.Finding, error) {
	start := time.Now()

	f := targets.Finding{Check: s.Name, Subject: s.Target, Severity: targets.Failed, Expected: s.Want, Query: QueryHash(s.Query)}
	if len(shards) == 0 {
		return f, fail.New(fail.Invalid, "drill: sum", s.Name, "name a postgres target of the group",
			fmt.Errorf("target %q has no restored shard", s.Target))
	}

	total := new(big.Rat)
	for _, q := range shards {
		v, rows, err := first(ctx, q, s.Query)

		f.Took = time.Since(start)
		switch {
		case err != nil && answered(err):
			f.Got, f.Detail = "an error", err.Error()
			return f, nil
		case err != nil:
			return f, err
		case v == nil:
			f.Got, f.Detail = "no row", q.String()+" returned nothing"
			if rows {
				f.Got = "NULL"
			}

			return f, nil
		}

		n, ok := assert.Number(*v)
		if !ok {
			f.Got, f.Detail = *v, "the answer of "+q.String()+" is not a number"
			return f, nil
		}

		total.Add(total, n)
	}
	f.Got = assert.FormatNumber(total)
	f.Detail = fmt.Sprintf("over %d shards", len(shards))

	ok, why := assert.Meets(assert.AsNumber(s.Want), f.Got)
	if ok {
		f.Severity = targets.Passed
	}

	if why != "" {
		f.Detail = why
	}

	return f, nil
}

// answered reports whether the server itself refused the query, for a reason
// that lies in the query or the data and not in the connection.
func answered(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fail.Is(err, fail.Invalid) || fail.Is(err, fail.Corrupt)
	}

	if len(pg.Code) < 2 {
		return false
	}

	switch pg.Code[:2] {
	case "08", "53", "57", "58": // connection, resources, shutdown or cancel, system
		return false
	}

	return true
}
