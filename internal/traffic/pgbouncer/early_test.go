package pgbouncer

import (
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"drctl/internal/traffic"
)

// TestAnEarlyAnswerIsNotBelieved has a console that answers PAUSE while a transaction
// still runs, as PgBouncer 1.18 does after somebody's WAIT_CLOSE.
func TestAnEarlyAnswerIsNotBelieved(t *testing.T) {
	var paused atomic.Bool
	var asked, open atomic.Int32
	open.Store(4) // how often a connection is shown after PAUSE was answered

	addr := console1(t, func(command string) [][2]string {
		switch {
		case strings.HasPrefix(command, "PAUSE"):
			paused.Store(true)
		case command == "SHOW DATABASES":
			n, p := 1, "0"
			if paused.Load() {
				p = "1"

				if asked.Add(1); open.Add(-1) < 0 {
					n = 0
				}
			}

			return [][2]string{{"name", "shop"}, {"host", "127.0.0.1"}, {"port", "1"}, {"pool_mode", "transaction"}, {"paused", p}, {"disabled", "0"}, {"current_connections", strconv.Itoa(n)}}
		}

		return nil
	})

	d, err := New(Spec{Route: traffic.Route{Name: "r", Kind: traffic.PgBouncer}, Poolers: []Pooler{{Address: addr}}, Database: "shop", User: "drctl"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()

	if err := d.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}

	if n := asked.Load(); n != 5 {
		t.Errorf("it was held after %d looks, want 5: a connection was open for 4", n)
	}
}

// console1 is a console for one client, with answers of one row at most.
func console1(t *testing.T, answer func(command string) [][2]string) string {
	t.Helper()

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = ln.Close() })

	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()

		b := pgproto3.NewBackend(c, c)
		if _, err := b.ReceiveStartupMessage(); err != nil {
			return
		}

		b.Send(&pgproto3.AuthenticationOk{})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})

		for b.Flush() == nil {
			m, err := b.Receive()
			if err != nil {
				return
			}

			q, ok := m.(*pgproto3.Query)
			if !ok {
				return
			}

			var fields []pgproto3.FieldDescription

			var row [][]byte
			for _, f := range answer(q.String) {
				fields, row = append(fields, pgproto3.FieldDescription{Name: []byte(f[0]), DataTypeOID: 25}), append(row, []byte(f[1]))
			}

			if fields != nil {
				b.Send(&pgproto3.RowDescription{Fields: fields})
				b.Send(&pgproto3.DataRow{Values: row})
			}

			b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SHOW")})
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		}
	}()

	return ln.Addr().String()
}
