package reply

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"drctl/internal/fail"
)

// Every refusal that a person meets says what to do next.
func TestMeaning(t *testing.T) {
	t.Parallel()

	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for _, c := range []struct {
		err  error
		code fail.Code
		hint string
	}{
		{errors.New("NOAUTH Authentication required."), fail.Denied, "a user and a secret"},
		{errors.New("-WRONGPASS invalid username-password pair or user is disabled."), fail.Denied, "check the user and the password"},
		{errors.New("DENIED Redis is running in protected mode"), fail.Denied, "protected mode"},
		{errors.New("NOPERM User drctl has no permissions to run the 'set' command"), fail.Denied, "ACL SETUSER"},
		{errors.New("ERR AUTH <password> called without any password configured for the default user."), fail.Denied, "has no password"},
		{errors.New("LOADING Redis is loading the dataset in memory"), fail.Unavailable, "loads its data"},
		{errors.New("MASTERDOWN Link with MASTER is down"), fail.Unavailable, "name the primary"},
		{errors.New("BUSY Redis is busy running a script."), fail.Unavailable, "SCRIPT KILL"},
		{errors.New("MISCONF Redis is configured to save RDB snapshots"), fail.Unavailable, "look at its log and its disk"},
		{errors.New("OOM command not allowed when used memory > 'maxmemory'."), fail.Unavailable, "maxmemory"},
		{errors.New("NOREPLICAS Not enough good replicas to write."), fail.Unavailable, "min-replicas-to-write"},
		{errors.New("ERR max number of clients reached"), fail.Unavailable, "maxclients"},
		{errors.New("READONLY You can't write against a read only replica."), fail.Conflict, "name the primary"},
		{errors.New("CLUSTERDOWN Hash slot not served"), fail.Unsupported, "Redis Cluster"},
		{errors.New("MOVED 3999 127.0.0.1:6381"), fail.Unsupported, "Redis Cluster"},
		{errors.New("ERR unknown command 'EVAL', with args beginning with:"), fail.Unsupported, "renamed_commands"},
		{refused, fail.Unavailable, "check that a Redis server runs there"},
		{fmt.Errorf("read: %w", io.EOF), fail.Unavailable, "tls: require"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, fail.Denied, "ca_file"},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, fail.Invalid, "tls: disable"},
		{errors.New("ERR syntax error"), fail.Unsupported, ""},
	} {
		code, hint := Meaning(c.err)
		if code != c.code || !strings.Contains(hint, c.hint) || c.hint == "" && hint != "" {
			t.Errorf("%v: %s, %q", c.err, code, hint)
		}
	}
}
