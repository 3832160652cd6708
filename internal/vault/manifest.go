package vault

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"

	"drctl/internal/fail"
	"drctl/targets"
)

// maxLine bounds one line of a manifest: a key of 1 KiB and its metadata.
const maxLine = 1 << 20

// manifestRefs calls f with the SHA-256 of every object that a manifest names.
// All that this package knows of a manifest is that it is lines of JSON and
// that a line that describes an object with content has a field "sha256".
func (v *Vault) manifestRefs(ctx context.Context, key string, f func(hash32)) error {
	r, err := v.openContent(ctx, key)
	if err != nil {
		return err
	}
	defer r.Close()
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), maxLine)
	for sc.Scan() {
		var line struct {
			SHA string `json:"sha256"`
		}
		if b := bytes.TrimSpace(sc.Bytes()); len(b) == 0 {
			continue
		} else if err := json.Unmarshal(b, &line); err != nil {
			return fail.New(fail.Corrupt, "vault: manifest", v.store.URL()+"/"+key, "", err)
		}
		if line.SHA == "" {
			continue
		}
		var h hash32
		if !targets.IsSHA256(line.SHA) {
			return fail.Newf(fail.Corrupt, "vault: manifest", v.store.URL()+"/"+key, "%q is not a SHA-256", line.SHA)
		}
		_, _ = hex.Decode(h[:], []byte(line.SHA))
		f(h)
	}
	if err := sc.Err(); err != nil {
		return fail.From(fail.Corrupt, "vault: manifest", v.store.URL()+"/"+key, err)
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
