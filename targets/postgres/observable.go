package postgres

import (
	"context"

	"drctl/internal/observation"
	"drctl/targets"
	"drctl/targets/postgres/observe"
)

var _ observation.Observable = (*Driver)(nil)

// Session implements observation.Observable. The server itself has to answer: a
// pooler may ask another one each time.
func (d *Driver) Session(ctx context.Context, in targets.Instance) (observation.Session, error) {
	const op = "observe"

	conn, err := connect(ctx, op, in)
	if err != nil {
		return nil, err
	}

	if err = direct(ctx, op, in, conn); err == nil {
		var s *observe.Session
		if s, err = observe.Open(ctx, conn, in.String()); err == nil {
			return s, nil
		}
	}

	closeConn(conn)

	return nil, queryError(op, in, "GRANT pg_monitor TO "+quoteIdent(in.User), err)
}
