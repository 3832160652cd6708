package receiver

import (
	"fmt"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/handover"
)

// Ask sends one query to a standby.
type Ask func(sql string, into ...any) error

// Heard is how far the receiver was told that its primary had come, on which timeline, and
// when. Not-found when it hears of no primary.
func Heard(op string, in targets.Instance, ask Ask) (at string, timeline int64, seen time.Time, err error) {
	err = ask(`SELECT coalesce(max(latest_end_lsn)::text, ''), coalesce(max(received_tli), 0), coalesce(max(latest_end_time), 'epoch')
		FROM pg_catalog.pg_stat_wal_receiver`, &at, &timeline, &seen)
	if err == nil && (at == "" || timeline <= 0) {
		err = fail.Newf(fail.NotFound, op, in.String(), "it hears of no primary")
	}

	return at, timeline, seen, err
}

// Link says whether the receiver streams, and when its last message came.
func Link(ask Ask) (handover.Link, error) {
	var streams bool
	var silent float64 // seconds since the last message

	err := ask(`SELECT coalesce(bool_or(status = 'streaming'), false),
		coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - max(last_msg_receipt_time)), 0)::float8 FROM pg_catalog.pg_stat_wal_receiver`, &streams, &silent)
	if err != nil {
		return handover.Link{}, err
	}

	return handover.Link{Up: streams, Silent: time.Duration(silent * float64(time.Second))}, nil
}

// Stopped says why a standby gets nothing of its primary; "" when it does. A receiver asks its
// primary for a sign of life before half of wal_receiver_timeout is over, and ends itself at its end: one
// that has heard nothing for longer is there, and does nothing.
func Stopped(ask Ask) (why string, err error) {
	var there bool
	var silent, limit float64 // seconds

	err = ask(`SELECT count(*) > 0, coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - max(last_msg_receipt_time)), 0)::float8,
		coalesce(nullif((SELECT setting::float8 / 1000 FROM pg_catalog.pg_settings WHERE name = 'wal_receiver_timeout'), 0), 60) FROM pg_catalog.pg_stat_wal_receiver`, &there, &silent, &limit)

	switch {
	case err != nil:
		return "", err
	case !there:
		return "it does not receive from a primary: check primary_conninfo and the primary", nil
	case silent > limit:
		return fmt.Sprintf("its receiver runs and has heard nothing for %.0f s, and would have ended itself after %.0f s: end the process, the server starts another", silent, limit), nil
	}

	return "", nil
}
