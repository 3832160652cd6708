package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/ending"
	"drctl/targets/postgres/feed"
	"drctl/targets/postgres/loss"
	"drctl/targets/postgres/replace"
	"drctl/targets/postgres/switchover"
)

// dial is the driver's own way to servers.
var dial = switchover.Dial{SQL: connectDirect, Log: walsender, Explain: queryError}

// switcher is the hands with that.
func (d *Driver) switcher() *switchover.Switcher {
	return switchover.New(switchover.Options{Slot: d.slot, Rewind: d.rewind, Lost: d.Lost, Dial: dial})
}

// connectDirect opens a session with the server itself.
func connectDirect(ctx context.Context, op string, in targets.Instance) (*pgx.Conn, error) {
	conn, err := connect(ctx, op, in)
	if err != nil {
		return nil, err
	}

	if err := direct(ctx, op, in, conn); err != nil {
		closeConn(conn)
		return nil, err
	}

	return conn, nil
}

// rewind runs pg_rewind as the servers' user.
func (d *Driver) rewind(ctx context.Context, env []string, args ...string) ([]byte, error) {
	tools, err := d.findTools()
	if err != nil {
		return []byte(err.Error()), err
	}

	return tools.Run(ctx, env, "pg_rewind", args...)
}

// Switch implements handover.Switcher.
func (d *Driver) Switch(req handover.Request) (handover.Switch, error) {
	return d.switcher().Switch(req)
}

// Rejoin implements handover.Switcher.
func (d *Driver) Rejoin(ctx context.Context, req handover.RejoinRequest) (handover.Rejoined, error) {
	return d.switcher().Rejoin(ctx, req)
}

// Replacer implements handover.Replacing.
func (d *Driver) Replacer() handover.Replacer { return replace.Replacer{At: d.switcher().Place} }

// Ender implements handover.Ending.
func (d *Driver) Ender() handover.Ender { return ending.Ender{Dial: dial} }

// Asker implements handover.Asking.
func (d *Driver) Asker() handover.Asker { return d.switcher() }

// Lost implements handover.LossTeller.
func (d *Driver) Lost(ctx context.Context, req handover.LossRequest) (handover.Loss, error) {
	return loss.Read(ctx, req, connectDirect)
}

// Feed implements handover.Feeder.
func (d *Driver) Feed(ctx context.Context, req handover.FeedRequest) (targets.Position, error) {
	const op = "feed"

	at, replayed, done, err := d.switcher().Standby(ctx, op, req.Standby)
	if err != nil {
		return targets.Position{}, err
	}
	defer done()

	return feed.Run(ctx, feed.Asked{At: at, Replayed: replayed}, req)
}
