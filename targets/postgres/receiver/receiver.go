package receiver

import (
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
