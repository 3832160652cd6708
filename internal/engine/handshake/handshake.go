package handshake

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// limit bounds how long Refusal asks.
const limit = 2 * time.Second

// Refusal says why the two sides refuse each other's certificates; nil when they do
// not, or it cannot be told. Foreign is set when what answers speaks no TLS.
func Refusal(ctx context.Context, address string, c *tls.Config) (why error, foreign bool) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c = c.Clone()
	c.NextProtos = []string{"h2"}

	conn, err := (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", address)
	if err == nil {
		// The server judges the client's certificate after the handshake.
		_ = conn.SetReadDeadline(time.Now().Add(limit))
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}

	var ours *tls.CertificateVerificationError
	var theirs *net.OpError
	var plain tls.RecordHeaderError

	switch {
	case errors.As(err, &ours), errors.As(err, &theirs) && theirs.Op == "remote error":
		return err, false
	case errors.As(err, &plain):
		return nil, true
	}

	return nil, false
}
