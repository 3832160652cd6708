package reply

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"

	"drctl/internal/fail"
)

// NeededACL is the least that a user of drctl needs.
const NeededACL = "ACL SETUSER <name> on ><password> resetkeys ~drctl:cut:* +ping +hello +info +select +dbsize +psync +replconf +eval +set +command +config|get +client|setname +client|pause +client|unpause"

// meaning is what an error says, and what to do about it.
type meaning struct {
	code fail.Code
	hint string
}

const cluster = "use masters without cluster mode, one shard each: a Redis Cluster is not supported"

// words are the first words of a server's errors.
var words = map[string]meaning{
	"NOAUTH":       {fail.Denied, "the server asks for a password: give the target a user and a secret"},
	"WRONGPASS":    {fail.Denied, "check the user and the password"},
	"DENIED":       {fail.Denied, "the server is in protected mode: set a password there, and give it to the target"},
	"NOPERM":       {fail.Denied, "give the user what it lacks: " + NeededACL},
	"LOADING":      {fail.Unavailable, "the server loads its data; wait until it has"},
	"MASTERDOWN":   {fail.Unavailable, "this is a replica that lost its master: name the primary"},
	"NOMASTERLINK": {fail.Unavailable, "this is a replica that lost its master: name the primary"},
	"TRYAGAIN":     {fail.Unavailable, "try again"},
	"BUSY":         {fail.Unavailable, "a script runs on the server; wait for it, or end it with SCRIPT KILL"},
	"NOREPLICAS":   {fail.Unavailable, "the server takes no writes without its replicas (min-replicas-to-write); bring them back"},
	"MISCONF":      {fail.Unavailable, "the server takes no writes because it cannot save its image; look at its log and its disk"},
	"OOM":          {fail.Unavailable, "the server is out of memory; raise maxmemory or remove keys"},
	"READONLY":     {fail.Conflict, "this is a replica: name the primary"},
	"CLUSTERDOWN":  {fail.Unsupported, cluster},
	"CROSSSLOT":    {fail.Unsupported, cluster},
	"MOVED":        {fail.Unsupported, cluster},
	"ASK":          {fail.Unsupported, cluster},
}

// phrases are what errors contain that have no first word of their own.
var phrases = []struct {
	text string
	meaning
}{
	{"max number of clients reached", meaning{fail.Unavailable, "the server has no free connection; raise maxclients"}},
	{"without any password configured", meaning{fail.Denied, "the server has no password: remove it from the target, or set one there"}},
	{"unknown command", meaning{fail.Unsupported, "the server does not know the command: name it under renamed_commands of the target, or remove its rename-command from redis.conf"}},
	{"first record does not look like a TLS handshake", meaning{fail.Invalid, "the server has no TLS there; switch it on, check the port, or set tls: disable"}},
	{"redis: can't parse", meaning{fail.Invalid, "another kind of server answers there; check the address"}},
	{"redis: invalid reply", meaning{fail.Invalid, "another kind of server answers there; check the address"}},
}

// Meaning is what an error means and what to do about it. An error that nobody
// knows is unsupported, and has no hint.
func Meaning(err error) (fail.Code, string) {
	var (
		unknown     x509.UnknownAuthorityError
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError
	)
	if errors.As(err, &certificate) || errors.As(err, &unknown) || errors.As(err, &alert) {
		return fail.Denied, "check ca_file, the server's certificate and the host name in the address"
	}

	text := strings.TrimPrefix(err.Error(), "-")
	for _, p := range phrases {
		if strings.Contains(text, p.text) {
			return p.code, p.hint
		}
	}

	var ne net.Error

	var oe *net.OpError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fail.Unavailable, "the server closed the connection: look at its log, check the address, and whether the port wants TLS (tls: require)"
	case errors.As(err, &oe), errors.As(err, &ne), errors.Is(err, net.ErrClosed):
		return fail.Unavailable, "check that a Redis server runs there, check the address"
	}

	word, _, _ := strings.Cut(text, " ")
	if m, ok := words[word]; ok {
		return m.code, m.hint
	}

	return fail.Unsupported, ""
}
