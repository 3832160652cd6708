package vault

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"filippo.io/age"

	"drctl/internal/fail"
	"drctl/targets"
)

// Key is a vault's root secret: one age X25519 identity. It prints as its
// recipient, never as the secret.
type Key struct{ id *age.X25519Identity }

// GenerateKey makes a new random key.
func GenerateKey() (Key, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return Key{}, fail.New(fail.Internal, "vault: make a key", "", "", err)
	}

	return Key{id}, nil
}

// ParseKey reads an identity ("AGE-SECRET-KEY-1..."), alone or as a key file
// in which empty lines and lines that begin with # are skipped. The error
// never repeats the text.
func ParseKey(s targets.Secret) (Key, error) {
	var found *age.X25519Identity
	for line := range strings.Lines(s.Reveal()) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}

		id, err := age.ParseX25519Identity(line)
		if err != nil || found != nil {
			found = nil
			break
		}
		found = id
	}

	if found == nil {
		return Key{}, fail.New(fail.Invalid, "vault: read the key", "",
			"give exactly one age identity, a line that begins with AGE-SECRET-KEY-1; age-keygen or drctl vault init makes one",
			errors.New("not an age X25519 identity"))
	}

	return Key{found}, nil
}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k.id == nil }

// Recipient is the public half ("age1..."), "" for a zero key.
func (k Key) Recipient() string {
	if k.id == nil {
		return ""
	}

	return k.id.Recipient().String()
}

// String is the recipient.
func (k Key) String() string { return k.Recipient() }

// GoString is the recipient, so that %#v does not leak.
func (k Key) GoString() string { return k.Recipient() }

// Secret is the identity as text, for a key file.
func (k Key) Secret() targets.Secret {
	if k.id == nil {
		return targets.Secret{}
	}

	return targets.NewSecret(k.id.String())
}

// resticPassword derives the password of every repository of a vault set, so
// that all its vaults hold the same one without talking to each other. It is
// stored encrypted, for who recovers by hand; opening a vault compares.
func (k Key) resticPassword(set string) targets.Secret {
	m := hmac.New(sha256.New, []byte(k.id.String()))
	m.Write([]byte("drctl restic password v1\x00" + set))

	return targets.NewSecret(hex.EncodeToString(m.Sum(nil)))
}
