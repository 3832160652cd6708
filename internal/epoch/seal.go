package epoch

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"

	"filippo.io/age"

	"drctl/internal/fail"
	"drctl/internal/vault"
)

// maxRecord bounds what is read of a record, in bytes.
const maxRecord = 256 << 10

// Codec protects records. What Open returns was made by Seal for the same key.
type Codec interface {
	Seal(key string, content []byte) ([]byte, error)
	Open(key string, sealed []byte) ([]byte, error)
}

// Seal is the Codec of a vault set: records are encrypted to its key, and
// authenticated with a key that follows from it and that only who holds it has.
//
//	age( hexadecimal HMAC-SHA256 of key, 0, JSON || line feed || JSON )
type Seal struct {
	id  *age.X25519Identity
	mac []byte
}

// NewSeal derives the seal of a vault set from its key.
func NewSeal(k vault.Key, set string) (Seal, error) {
	id, err := age.ParseX25519Identity(k.Secret().Reveal())
	if err != nil || set == "" {
		return Seal{}, fail.New(fail.Invalid, "epoch: seal", "", "open the vault first", errors.New("no vault key, or no vault set"))
	}
	m := hmac.New(sha256.New, []byte(id.String()))
	m.Write([]byte("drctl epoch v1\x00" + set))

	return Seal{id, m.Sum(nil)}, nil
}

func (s Seal) sum(key string, content []byte) []byte {
	m := hmac.New(sha256.New, s.mac)
	m.Write([]byte(key + "\x00"))
	m.Write(content)

	return hex.AppendEncode(nil, m.Sum(nil))
}

// Seal encrypts content for the key.
func (s Seal) Seal(key string, content []byte) ([]byte, error) {
	var b bytes.Buffer

	w, err := age.Encrypt(&b, s.id.Recipient())
	if err == nil {
		_, err = w.Write(append(append(s.sum(key, content), '\n'), content...))
	}

	if err == nil {
		err = w.Close()
	}

	if err != nil {
		return nil, fail.From(fail.Internal, "epoch: seal", key, err)
	}

	return b.Bytes(), nil
}

// Open is the inverse of Seal. fail.Corrupt when it was not made for this key by
// who holds the vault's key.
func (s Seal) Open(key string, sealed []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), s.id)

	var b []byte
	if err == nil {
		b, err = io.ReadAll(io.LimitReader(r, maxRecord))
	}

	sum, content, ok := bytes.Cut(b, []byte{'\n'})
	if err == nil && (!ok || !hmac.Equal(sum, s.sum(key, content))) {
		err = errors.New("not written by who holds the vault's key, or not under this name")
	}

	if err != nil {
		return nil, fail.New(fail.Corrupt, "epoch: read", key, "find out who can write to this store besides drctl", err)
	}

	return content, nil
}
