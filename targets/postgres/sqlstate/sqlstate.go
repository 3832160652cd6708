package sqlstate

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
)

// Meaning is what an SQLSTATE says about a connection or a statement of user,
// and what to do about it. grant is the statement that a lacking privilege
// needs; it may be empty. ok is false for states without a meaning of their own.
func Meaning(state, user, grant string) (code fail.Code, hint string, ok bool) {
	switch state {
	case "28P01":
		return fail.Denied, fmt.Sprintf("the password of user %q is wrong", user), true
	case "28000":
		return fail.Denied, fmt.Sprintf("pg_hba.conf does not admit user %q from here, or the user may not do this (for the stream: ALTER ROLE %s REPLICATION and a pg_hba line for database replication)", user, pgx.Identifier{user}.Sanitize()), true
	case "42501":
		if grant == "" {
			return fail.Denied, fmt.Sprintf("user %q lacks a privilege", user), true
		}

		return fail.Denied, fmt.Sprintf("user %q lacks a privilege; as a superuser run: %s", user, grant), true
	}

	for _, n := range []int{5, 3, 2} { // from one state to its class
		if s, ok := states[state[:min(n, len(state))]]; ok {
			return s.code, s.hint, true
		}
	}

	return "", "", false
}

// states maps states, and classes of them by their first characters, to what
// they mean for whoever asked.
var states = map[string]struct {
	code fail.Code
	hint string
}{
	"08":    {fail.Unavailable, "the server ended the session; look at its log"},
	"0A000": {fail.Unsupported, "the server's version is too old"},
	"22":    {fail.Invalid, ""},
	"25006": {fail.Conflict, "the server is a standby or read-only; point the instance at the primary"},
	"25P02": {fail.Stalled, "the transaction had failed before; look at the server's log for why"},
	"25P03": {fail.Stalled, "the server ended an idle transaction (idle_in_transaction_session_timeout); raise it for the user"},
	"3D000": {fail.NotFound, "check the database name of the instance"},
	"3F000": {fail.NotFound, "check the names in the configuration"},
	"40P01": {fail.Stalled, "another session waited for the same locks the other way round (a deadlock); try again"},
	"42":    {fail.Invalid, ""},
	"42704": {fail.NotFound, "check the names in the configuration"},
	"42P01": {fail.NotFound, "check the names in the configuration"},
	"53":    {fail.Exhausted, "the server ran out of a resource; look at its log"},
	"53300": {fail.Unavailable, "the server has no free connection; raise max_connections or superuser_reserved_connections"},
	"55006": {fail.Conflict, "somebody else uses it; pg_stat_activity and pg_replication_slots say who"},
	"55P03": {fail.Stalled, "the lock was not to be had in time; pg_locks says who holds it"},
	"57014": {fail.Stalled, "it was cancelled, or took longer than its limit; look at the server's load and its locks"},
	"57P":   {fail.Unavailable, "the server ended the session; look at its log"},
	"57P03": {fail.Unavailable, "the server is starting, recovering or stopping; try again"},
	"XX001": {fail.Corrupt, "the server reports damaged data"},
	"XX002": {fail.Corrupt, "the server reports damaged data"},
}

// Of is the server's error code inside err, or "".
func Of(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}

	return ""
}
