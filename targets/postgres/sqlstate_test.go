package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/fail"
	"drctl/targets"
)

// TestMeaning: one state means one thing, whether the server says it to a
// connection or to a statement; only what has no meaning differs.
func TestMeaning(t *testing.T) {
	t.Parallel()
	in := targets.Instance{Kind: targets.Postgres, User: "ada"}
	for state, want := range map[string][2]fail.Code{
		"28P01": {fail.Denied, fail.Denied},
		"28000": {fail.Denied, fail.Denied},
		"42501": {fail.Denied, fail.Denied},
		"3D000": {fail.NotFound, fail.NotFound},
		"42P01": {fail.NotFound, fail.NotFound},
		"42601": {fail.Invalid, fail.Invalid},
		"22P02": {fail.Invalid, fail.Invalid},
		"0A000": {fail.Unsupported, fail.Unsupported},
		"53300": {fail.Unavailable, fail.Unavailable}, // tried again: connections come free
		"53200": {fail.Unavailable, fail.Exhausted},
		"57P01": {fail.Unavailable, fail.Unavailable},
		"57P03": {fail.Unavailable, fail.Unavailable},
		"57014": {fail.Stalled, fail.Stalled},
		"08006": {fail.Unavailable, fail.Unavailable},
		"25006": {fail.Conflict, fail.Conflict},
		"XX001": {fail.Corrupt, fail.Corrupt},
		"XX000": {fail.Unavailable, fail.Internal},
		"":      {fail.Unavailable, fail.Internal},
	} {
		pe := &pgconn.PgError{Code: state, Message: "said"}
		if got := fail.CodeOf(serverRefusal("op", in, pe)); got != want[0] {
			t.Errorf("%q to a connection: %s, want %s", state, got, want[0])
		}
		if got := fail.CodeOf(queryError("op", in, "", pe)); got != want[1] {
			t.Errorf("%q to a statement: %s, want %s", state, got, want[1])
		}
	}
}
