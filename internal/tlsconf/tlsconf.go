package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"strconv"

	"drctl/internal/fail"
)

// Roots reads the certificate authorities of a PEM file. Without a file it is
// nil: those of the system. A file that cannot be read or holds no certificate
// is an invalid configuration.
func Roots(op, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}

	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fail.New(fail.Invalid, op, file, "correct the name of the CA file, or let the user that runs drctl read it", err)
	}

	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fail.New(fail.Invalid, op, file, "give a PEM file with certificates", errors.New("no certificate in it"))
	}

	return pool, nil
}

// Client follows a mode: "" and "disable" are plain text (nil), "require"
// encrypts and proves nothing, "verify-full" proves the server's name, host.
func Client(op, mode, host, caFile string) (*tls.Config, error) {
	switch mode {
	case "", "disable":
		return nil, nil
	case "require", "verify-full":
	default:
		return nil, fail.New(fail.Invalid, op, host, "use disable, require or verify-full", errors.New("unknown TLS mode "+strconv.Quote(mode)))
	}

	roots, err := Roots(op, caFile)
	if err != nil {
		return nil, err
	}

	return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: roots, InsecureSkipVerify: mode == "require"}, nil
}
