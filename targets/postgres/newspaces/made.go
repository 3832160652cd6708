package newspaces

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"drctl/internal/fail"
	"drctl/targets/postgres/localwal"
	"drctl/targets/postgres/wal"
)

const op = "read log"

// Made are the tablespaces outside of the data directory that a log makes from a place on, in order:
// one for each location, however often it was made anew. A replay may begin behind a damaged place only
// before complete, where the base is whole: a log that ends before that is corrupt.
func Made(ctx context.Context, log *localwal.Log, from, complete uint64) (made []wal.Space, err error) {
	records, src, err := log.Records(from, true)
	if err != nil {
		return nil, err
	}
	defer src.Close()

	for {
		rec, err := records.Next()

		switch {
		case ctx.Err() != nil:
			return nil, fail.From(fail.Stalled, op, log.Path(from), ctx.Err())
		case errors.Is(err, io.EOF) || fail.Is(err, fail.Corrupt):
			return made, covers(log, records.End(), wal.LSN(complete), err)
		case err != nil:
			return nil, unknown(log, rec, err)
		}

		s, ok, err := rec.Space()
		if err != nil {
			return nil, unknown(log, rec, err)
		}

		again := slices.ContainsFunc(made, func(m wal.Space) bool { return m.Location == s.Location })
		if ok && s.Made && s.Location != "" && !again {
			made = append(made, s)
		}
	}
}

// covers refuses a log that ends before the base is complete.
func covers(log *localwal.Log, end, complete wal.LSN, why error) error {
	if end.RecordStart(log.Segment) >= complete.RecordStart(log.Segment) {
		return nil
	}

	return fail.New(fail.Corrupt, op, log.Path(uint64(end)), "verify the vault; another vault or another base may do",
		fmt.Errorf("the log is damaged before the base is complete at %s: %w", complete, why))
}

// unknown refuses a log that has told nothing of what lies behind a place.
func unknown(log *localwal.Log, rec wal.Record, why error) error {
	return fail.New(fail.CodeOf(why), op, log.Path(uint64(rec.Start)), "look at the disk and the limits of this host, and try again",
		fmt.Errorf("whether tablespaces were made after the base is not known, and their replay could write where live ones are: %w", why))
}
