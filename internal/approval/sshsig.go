package approval

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"drctl/internal/fail"
)

// The form is OpenSSH's PROTOCOL.sshsig, version 1.
const (
	magic     = "SSHSIG"
	namespace = "drctl"
	pemType   = "SSH SIGNATURE"
	maxSig    = 16 << 10
)

// blob is what the PEM block holds, behind the magic.
type blob struct {
	Version                   uint32
	Key                       string
	Namespace, Reserved, Hash string
	Signature                 string
}

// signed is what the signature is of, behind the magic.
type signed struct{ Namespace, Reserved, Hash, Sum string }

func preimage(message []byte, hash string) ([]byte, error) {
	if hash != "sha512" {
		return nil, fmt.Errorf("hash %.20q: sign with sha512", hash)
	}
	sum := sha512.Sum512(message)

	return append([]byte(magic), ssh.Marshal(signed{namespace, "", hash, string(sum[:])})...), nil
}

// accepted are the kinds of keys; the second is Ed25519 in hardware.
func accepted(k ssh.PublicKey) bool {
	return k.Type() == ssh.KeyAlgoED25519 || k.Type() == ssh.KeyAlgoSKED25519
}

func sign(key ssh.Signer, message []byte) (string, error) {
	if !accepted(key.PublicKey()) {
		return "", fail.New(fail.Invalid, op, key.PublicKey().Type(), "make one with ssh-keygen -t ed25519", errors.New("not an Ed25519 key"))
	}

	pre, err := preimage(message, "sha512")
	if err != nil {
		return "", fail.From(fail.Internal, op, "", err)
	}

	s, err := key.Sign(rand.Reader, pre)
	if err != nil {
		return "", fail.From(fail.Denied, op, "", err)
	}

	b := append([]byte(magic), ssh.Marshal(blob{1, string(key.PublicKey().Marshal()), namespace, "", "sha512", string(ssh.Marshal(s))})...)

	return string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: b})), nil
}

// verify checks that one of the keys, which are lines of authorized_keys, has
// signed the message, and returns it.
func verify(signature string, message []byte, keys []string) ([]byte, error) {
	if len(signature) > maxSig {
		return nil, errors.New("the signature is too long")
	}

	p, _ := pem.Decode([]byte(signature))
	if p == nil || p.Type != pemType || !bytes.HasPrefix(p.Bytes, []byte(magic)) {
		return nil, errors.New("the signature is not one of SSH")
	}

	var b blob
	if err := ssh.Unmarshal(p.Bytes[len(magic):], &b); err != nil || b.Version != 1 {
		return nil, errors.New("the signature is not readable")
	}

	if b.Namespace != namespace {
		return nil, fmt.Errorf("it was signed for %.40q, not for %s: ssh-keygen -Y sign -n %s", b.Namespace, namespace, namespace)
	}

	key, err := known(b.Key, keys)
	if err != nil {
		return nil, err
	}

	var s ssh.Signature
	if err := ssh.Unmarshal([]byte(b.Signature), &s); err != nil {
		return nil, errors.New("the signature is not readable")
	}

	pre, err := preimage(message, b.Hash)
	if err != nil {
		return nil, err
	}

	if err := key.Verify(pre, &s); err != nil {
		return nil, errors.New("the signature is not of this text")
	}

	return key.Marshal(), nil
}

// known finds the key among the lines.
func known(key string, lines []string) (ssh.PublicKey, error) {
	for _, l := range lines {
		k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(l))
		if err != nil {
			return nil, errors.New("a key of this person is not readable: write it as in authorized_keys")
		}

		if string(k.Marshal()) != key {
			continue
		}

		if !accepted(k) {
			return nil, fmt.Errorf("a key of kind %s is not accepted; make one with ssh-keygen -t ed25519", k.Type())
		}

		return k, nil
	}

	return nil, errors.New("it was signed with a key that is not this person's")
}
