package approval

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/pem"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// A security key that nobody has touched has signed for nobody.
func TestASecurityKeyWantsToBeTouched(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	const app = "ssh:"

	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Kind   string
		Public []byte
		App    string
	}{ssh.KeyAlgoSKED25519, public, app}))
	if err != nil {
		t.Fatal(err)
	}

	message := []byte("yes\n")

	pre, err := preimage(message, "sha512")
	if err != nil {
		t.Fatal(err)
	}

	for flags, want := range map[byte]bool{0: false, 1: true, 4: false, 5: true} {
		type counted struct {
			Flags   byte
			Counter uint32
		}
		of, what := sha256.Sum256([]byte(app)), sha256.Sum256(pre)
		signed := append(append(append([]byte{}, of[:]...), ssh.Marshal(counted{flags, 7})...), what[:]...)

		sig := ssh.Marshal(ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(private, signed), Rest: ssh.Marshal(counted{flags, 7})})
		b := append([]byte(magic), ssh.Marshal(blob{1, string(key.Marshal()), namespace, "", "sha512", string(sig)})...)
		text := string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: b}))

		for _, options := range []string{"", "no-touch-required "} {
			line := options + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))

			if _, err := verify(text, message, []string{line}); (err == nil) != want {
				t.Errorf("flags %d, %q: %v", flags, options, err)
			}
		}
	}
}
