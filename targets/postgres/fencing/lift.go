package fencing

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// letGo is for how long a promotion waits until the guard takes back its hold, where drctl may not.
	letGo = 5 * time.Second
	poll  = time.Millisecond
)

// Lift takes back what a guard did to a server that it fenced, has it promoted, and waits until new
// sessions may write: as a primary it would refuse its clients' writes until the guard's next renewal.
// A server that was made read-only by other means stays so, and what cannot be asked or changed keeps
// nobody from a promotion: the verification after it names what does not write. The error is promote's.
func Lift(ctx context.Context, session func(context.Context) (*pgx.Conn, error), promote func(context.Context) error) error {
	held := func() (on bool) {
		if c, err := session(ctx); err == nil {
			_ = c.QueryRow(ctx, "SELECT pg_catalog.current_setting('"+Held+"')::bool").Scan(&on)
		}

		return on
	}

	on := held()
	if c, err := session(ctx); on && err == nil { // before the promotion, so that it is done by then
		if _, err = c.Exec(ctx, "ALTER SYSTEM RESET "+Held); err == nil {
			_, _ = c.Exec(ctx, "SELECT pg_catalog.pg_reload_conf()")
		}
	}

	err := promote(ctx)

	for end := time.Now().Add(letGo); err == nil && on && time.Now().Before(end) && ctx.Err() == nil; time.Sleep(poll) {
		on = held()
	}

	return err
}
