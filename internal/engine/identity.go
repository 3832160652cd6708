package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"google.golang.org/grpc/credentials"

	"drctl/internal/fail"
	"drctl/internal/trust"
)

const (
	// identityFile is the file in an embedded engine's directory with the one
	// certificate, and its key, that both ends of a connection show and trust.
	// The engine makes a new one each time it starts.
	identityFile = "engine.pem"
	// identityName is the name in the certificate.
	identityName = "drctl-engine"
)

// Identity reads what opens the embedded engine of a directory, for one
// connection: a restarted engine has another. Denied when the engine is another
// user's, unavailable when none has started there.
func Identity(dir string) (*tls.Config, error) {
	const op = "engine: read its certificate"
	file := filepath.Join(dir, identityFile)

	text, owner, err := readOwned(file)
	if errors.Is(err, fs.ErrPermission) {
		return nil, notOurs(dir)
	}

	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail.New(fail.Unavailable, op, file, "", errors.New("it is not there: no engine has started in this directory, or one that is older than this drctl"))
	}

	if err != nil {
		return nil, fail.New(fail.Unavailable, op, file, "", err)
	}
	// A user who may read everything, as root may, must still not work for the
	// engine of one who may not.
	if owner != os.Geteuid() {
		return nil, notOurs(dir)
	}

	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fail.New(fail.Corrupt, op, file, "restart the engine, which makes a new one", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)

	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: identityName}, nil
}

// readOwned reads a small file and tells its owner.
func readOwned(file string) (text []byte, owner int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}

	defer func() { _ = f.Close() }()

	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	text, err = io.ReadAll(io.LimitReader(f, 64<<10))

	return text, ownerOf(info), err
}

func ownerOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}

	return -1
}

// notOurs says whose engine it is.
func notOurs(dir string) error {
	name := "another user"
	for at := dir; ; at = filepath.Dir(at) { // the nearest directory that can be looked at
		if info, err := os.Stat(at); err == nil {
			name = trust.UserName(ownerOf(info))
			break
		}

		if at == filepath.Dir(at) {
			break
		}
	}

	return fail.New(fail.Denied, "engine: open", dir, "run drctl as that user",
		fmt.Errorf("permission denied: this engine belongs to %s and serves that user alone", name))
}

// identityCredentials read the certificate anew for each connection, so that a
// client outlives restarts of its engine.
type identityCredentials struct {
	dir string
	credentials.TransportCredentials
}

func newIdentityCredentials(dir string, first *tls.Config) credentials.TransportCredentials {
	return identityCredentials{dir: dir, TransportCredentials: credentials.NewTLS(first)}
}

// ClientHandshake proves to each side who the other is.
func (c identityCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	now, err := Identity(c.dir)
	if err != nil {
		return nil, nil, err
	}

	return credentials.NewTLS(now).ClientHandshake(ctx, authority, conn)
}

// Clone returns credentials that may be changed apart from these.
func (c identityCredentials) Clone() credentials.TransportCredentials {
	return identityCredentials{dir: c.dir, TransportCredentials: c.TransportCredentials.Clone()}
}
