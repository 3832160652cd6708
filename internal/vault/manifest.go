package vault

import (
	"bufio"
	"context"
	"encoding/hex"
	"io"

	"drctl/internal/manifest"
)

// manifestRefs calls f with the SHA-256 of every object that a manifest names. A
// manifest that a restore would refuse is an error that holds manifest.ErrMalformed.
func (v *Vault) manifestRefs(ctx context.Context, key string, f func(hash32)) error {
	r, err := v.openContent(ctx, key)
	if err != nil {
		return err
	}
	defer r.Close()

	for e, err := range manifest.Entries(r, v.store.URL()+"/"+key) {
		if err != nil {
			return err
		}
		var h hash32
		_, _ = hex.Decode(h[:], []byte(e.SHA256))
		f(h)
	}
	return nil
}

// manifestHashes calls f with every run of exactly 64 lower-case hexadecimal
// digits in a manifest: all that it can name, in whatever form. Retention
// keeps by this, so that a change of the form never costs an object.
func (v *Vault) manifestHashes(ctx context.Context, key string, f func(hash32)) error {
	r, err := v.openContent(ctx, key)
	if err != nil {
		return err
	}
	defer r.Close()
	br := bufio.NewReaderSize(r, 256<<10)
	run := make([]byte, 0, 65)
	flush := func() {
		if len(run) == 64 {
			var h hash32
			_, _ = hex.Decode(h[:], run)
			f(h)
		}
		run = run[:0]
	}
	for {
		b, err := br.ReadByte()
		if err == io.EOF {
			flush()
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case b >= '0' && b <= '9', b >= 'a' && b <= 'f':
			if len(run) < 65 {
				run = append(run, b)
			}
		default:
			flush()
		}
	}
}

// objectHash is the hash that an object's key names.
func objectHash(key string) (h hash32, ok bool) {
	_, sha, ok := ParseObjectKey(key)
	if ok {
		_, _ = hex.Decode(h[:], []byte(sha))
	}
	return h, ok
}
