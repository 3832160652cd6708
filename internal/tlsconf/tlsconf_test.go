package tlsconf

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"drctl/internal/fail"
)

// A server with a certificate of its own: only its CA file, or no proof at all,
// leads to it.
func TestModesAgainstAServer(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")

	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		mode, host, ca string
		answers        bool
	}{
		{"require", "example.com", "", true},
		{"require", "other.test", "", true},
		{"verify-full", "example.com", ca, true},
		{"verify-full", "other.test", ca, false},
		{"verify-full", "example.com", "", false},
		{"disable", "example.com", ca, false},
	} {
		conf, err := Client("op", c.mode, c.host, c.ca)
		if err != nil {
			t.Fatal(err)
		}
		client := http.Client{Transport: &http.Transport{TLSClientConfig: conf}}

		res, err := client.Get(srv.URL)
		if err == nil {
			_ = res.Body.Close()
		}

		if (err == nil) != c.answers {
			t.Errorf("%s of %s with CA %q: %v, should answer: %v", c.mode, c.host, c.ca, err, c.answers)
		}
	}
}

func TestBadFilesAndModesAreErrors(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		mode, ca string
		code     fail.Code
	}{
		{"verify-full", empty, fail.Invalid},
		{"require", empty, fail.Invalid},
		{"verify-full", empty + ".none", fail.Invalid},
		{"verify-ca", "", fail.Invalid},
	} {
		if conf, err := Client("op", c.mode, "h", c.ca); conf != nil || !fail.Is(err, c.code) {
			t.Errorf("%s with %q: %v, %v, want %s", c.mode, c.ca, conf, err, c.code)
		}
	}
}
