package enginetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/engine"
)

// ServerName is the name in the certificate of a Front.
const ServerName = "engine.test"

// Authority is a certificate authority of a test and files of what it signed.
type Authority struct {
	CAFile            string
	CertFile, KeyFile string // of a client

	pool   *x509.CertPool
	server tls.Certificate
}

// NewAuthority makes an authority that nobody else trusts.
func NewAuthority(t testing.TB) Authority {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		t.Helper()

		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}

		return path
	}
	var ca *x509.Certificate
	var caKey *ecdsa.PrivateKey
	issue := func(c x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
		t.Helper()

		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}

		if c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
			t.Fatal(err)
		}
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)

		parent, signer := ca, caKey
		if ca == nil {
			parent, signer = &c, key
		}

		der, err := x509.CreateCertificate(rand.Reader, &c, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}

		return der, key
	}
	der, key := issue(x509.Certificate{Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})

	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	caKey = key
	a := Authority{CAFile: write("ca.pem", "CERTIFICATE", der), pool: x509.NewCertPool()}
	a.pool.AddCert(ca)
	der, key = issue(x509.Certificate{DNSNames: []string{ServerName}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	a.server = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	der, key = issue(x509.Certificate{Subject: pkix.Name{CommonName: "drctl"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})

	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.CertFile, a.KeyFile = write("client.pem", "CERTIFICATE", der), write("client.key", "PRIVATE KEY", private)

	return a
}

func (a Authority) listen(t testing.TB, mutual bool) net.Listener {
	t.Helper()

	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{a.server}, NextProtos: []string{"h2"}}
	if mutual {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, a.pool
	}

	l, err := tls.Listen("tcp4", "127.0.0.1:0", c)
	if err != nil {
		t.Fatal(err)
	}

	return l
}

// Front puts another TLS before an engine, as a cluster of one's own has it, and
// returns its address: with mutual it demands a client certificate of the authority.
func (a Authority) Front(t testing.TB, e *engine.Embedded, mutual bool) (address string) {
	t.Helper()
	return forward(t, a.listen(t, mutual), e)
}

// PlainFront speaks plain text, as a cluster inside a private network does.
func PlainFront(t testing.TB, e *engine.Embedded) (address string) {
	t.Helper()

	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	return forward(t, l, e)
}

// forward hands what comes to the listener to the engine until the test ends.
func forward(t testing.TB, l net.Listener, e *engine.Embedded) (address string) {
	t.Cleanup(func() { _ = l.Close() })

	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}

			go func() {
				defer func() { _ = in.Close() }()

				if secure, ok := in.(*tls.Conn); ok && secure.Handshake() != nil {
					return
				}

				behind, err := engine.Identity(e.Dir)
				if err != nil {
					return
				}
				behind.NextProtos = []string{"h2"}

				out, err := tls.Dial("tcp4", e.Address, behind)
				if err != nil {
					return
				}

				defer func() { _ = out.Close() }()

				go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
				_, _ = io.Copy(in, out)
			}()
		}
	}()

	return l.Addr().String()
}

// KeyFront is a front that demands an API key, as a cloud service does.
func (a Authority) KeyFront(t testing.TB, e *engine.Embedded, key string) (address string) {
	t.Helper()

	behind, err := engine.Identity(e.Dir)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: e.Address})
	inner := &http.Transport{TLSClientConfig: behind, Protocols: &http.Protocols{}}
	inner.Protocols.SetHTTP2(true)
	proxy.Transport, proxy.FlushInterval, proxy.ErrorLog = inner, -1, log.New(io.Discard, "", 0)
	// An answer of trailers alone reads as headers. Passed on as such it may lose
	// the flag that ends the stream, which makes it an answer without trailers.
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Header.Get("Grpc-Status") != "" {
			r.Trailer = http.Header{}
			for _, k := range []string{"Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin"} {
				if v, ok := r.Header[k]; ok {
					r.Trailer[k] = v
					delete(r.Header, k)
				}
			}
		}

		return nil
	}
	s := &http.Server{Protocols: &http.Protocols{}, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+key)) != 1 {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			r.Header.Del("Authorization")
			proxy.ServeHTTP(w, r)
		})}
	s.Protocols.SetHTTP2(true)
	s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{a.server}, NextProtos: []string{"h2"}}

	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	go func() { _ = s.ServeTLS(l, "", "") }()

	t.Cleanup(func() { _ = s.Close() })

	return l.Addr().String()
}
