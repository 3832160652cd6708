package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.temporal.io/server/common/rpc/encryption"
)

const (
	// identityFile holds a certificate and its key, both in PEM. Every connection
	// of the engine, between its services too, shows this certificate at both
	// ends and accepts no other: who can read the file may use the engine.
	identityFile = "engine.pem"
	// serverName is the name in the certificate.
	serverName = "drctl-engine"
)

// identity is what both ends of a connection show and trust.
type identity struct {
	pair tls.Certificate
	pool *x509.CertPool
}

// newIdentity makes the identity of this run and writes it for the clients,
// which read it anew for each connection: so a key that once leaked is of no
// use after a restart. It does not expire, because the engine may run for years
// and what protects it is the file, not a date.
func newIdentity(dir string) (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return identity{}, err
	}
	// The dates are far away on both sides: a clock that is set back must not
	// lock the owner out either.
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: serverName}, DNSNames: []string{serverName},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, // it signs nothing
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return identity{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return identity{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return identity{}, err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	file := filepath.Join(dir, identityFile)
	if err := writeFile(file, text); err != nil {
		return identity{}, &problem{Code: "exhausted", Op: "engine: write certificate", Subject: file, Message: err.Error()}
	}
	id := identity{pair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool: x509.NewCertPool()}
	id.pool.AddCert(leaf)
	return id, nil
}

func (id identity) server() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id.pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: id.pool}
}

func (id identity) client() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id.pair}, RootCAs: id.pool, ServerName: serverName}
}

// provider makes every service of the server use the identity.
func (id identity) provider() encryption.TLSConfigProvider {
	return &encryption.FixedTLSConfigProvider{
		FrontendServerConfig: id.server(), FrontendClientConfig: id.client(),
		InternodeServerConfig: id.server(), InternodeClientConfig: id.client(),
	}
}

// ownDir makes the directory, or takes an existing one of this user, and closes
// it to all others.
func ownDir(dir string) error {
	const op = "engine: open directory"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &problem{Code: "invalid", Op: op, Subject: dir, Message: err.Error()}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return &problem{Code: "denied", Op: op, Subject: dir, Message: err.Error()}
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return &problem{Code: "denied", Op: op, Subject: dir, Message: fmt.Sprintf("it belongs to user %s", userName(st.Uid)),
			Hint: "run as that user, or choose another directory"}
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return &problem{Code: "denied", Op: op, Subject: dir, Message: err.Error()}
		}
	}
	return nil
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}
