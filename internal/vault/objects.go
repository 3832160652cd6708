package vault

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// HasObject reports whether the content is stored in as many vaults as the
// policy asks for. It is cheap for many objects: past a few questions it lists
// one of the 256 folders of a shard and remembers it for ten minutes.
func (s *ShardVault) HasObject(ctx context.Context, sha string) (bool, error) {
	if !isSHA(sha) {
		return false, fail.Newf(fail.Invalid, "vault: object", s.id.String(), "%q is not a SHA-256", sha)
	}
	have := 0
	var bad error
	for _, v := range s.set.Vaults {
		ok, err := s.objects.has(ctx, v, s.id, sha)
		if err != nil {
			bad = err
		} else if ok {
			have++
		}
	}
	if have >= s.set.Need() {
		return true, nil
	}
	if bad != nil && have+1 >= s.set.Need() {
		return false, bad // the answer is with the vault that cannot be asked
	}
	return false, nil
}

// PutObject stores content whose SHA-256 is not known before, reading r once.
// Vaults that hold the content already are left alone.
func (s *ShardVault) PutObject(ctx context.Context, r io.Reader) (string, int64, error) {
	if err := s.set.check(); err != nil {
		return "", 0, err
	}
	sp := &spool{dir: s.Vault().opt.TempDir, hidden: true}
	defer sp.close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(h, sp), ctxReader{ctx, r}); err != nil {
		return "", 0, asFail(fail.Unavailable, "vault: put object", s.id.String(), err)
	}
	sha := hex.EncodeToString(h.Sum(nil))
	key := ObjectKey(s.id, sha)
	done, err := s.putContent(ctx, key, sp, func(ctx context.Context, v *Vault) (bool, error) {
		return s.objects.has(ctx, v, s.id, sha)
	})
	s.objects.add(done, sha)
	if err != nil {
		return "", 0, err
	}
	return sha, sp.size, nil
}

// putContent seals what sp holds once and stores it in the vaults that lack it.
// It returns the vaults that have it now.
func (s *ShardVault) putContent(ctx context.Context, key string, sp *spool, has func(context.Context, *Vault) (bool, error)) (done []*Vault, err error) {
	sealed := &spool{dir: s.Vault().opt.TempDir}
	defer sealed.close()
	seal := sync.OnceValue(func() error { return s.Vault().SealTo(sealed, key, nil, sp.reader()) })
	errs := s.set.each(ctx, func(ctx context.Context, v *Vault) error {
		if ok, err := has(ctx, v); ok || err != nil {
			return err
		}
		if err := seal(); err != nil {
			return err
		}
		return sealed.put(ctx, v.store, key)
	})
	for i, err := range errs {
		if err == nil {
			done = append(done, s.set.Vaults[i])
		}
	}
	_, err = s.set.durable(key, errs)
	return done, err
}

// PutManifest stores a finished manifest and returns its SHA-256 in hex. A
// manifest equal to the newest is not stored again.
func (s *ShardVault) PutManifest(ctx context.Context, r io.Reader) (string, error) {
	if err := s.set.check(); err != nil {
		return "", err
	}
	sp := &spool{dir: s.Vault().opt.TempDir, hidden: true}
	defer sp.close()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(h, sp), ctxReader{ctx, r}); err != nil {
		return "", asFail(fail.Unavailable, "vault: put manifest", s.id.String(), err)
	}
	sha := hex.EncodeToString(h.Sum(nil))
	key := ManifestKey(s.id, s.Vault().opt.Now(), sha)
	_, err := s.putContent(ctx, key, sp, func(ctx context.Context, v *Vault) (bool, error) {
		last, err := v.lastManifest(ctx, s.id)
		if err != nil {
			return false, err
		}
		_, _, have, ok := ParseManifestKey(last)
		return ok && have == sha, nil
	})
	return sha, err
}

// lastManifest is the key of the newest manifest, "" when there is none. It
// looks at the latest hours first, as a year of manifests is a long listing.
func (v *Vault) lastManifest(ctx context.Context, id targets.ShardID) (string, error) {
	now := v.opt.Now()
	for _, back := range []time.Duration{time.Hour, 48 * time.Hour, 0} {
		after, last := "", ""
		if back > 0 {
			after = ManifestsPrefix(id) + msName(now.Add(-back))
		}
		for i, err := range v.store.List(ctx, ManifestsPrefix(id), after) {
			if err != nil {
				return "", err
			}
			if _, _, _, ok := ParseManifestKey(i.Key); ok {
				last = i.Key
			}
		}
		if last != "" {
			return last, nil
		}
	}
	return "", nil
}

// LastManifest opens the newest manifest, or returns nil without error when
// there is none.
func (s *ShardVault) LastManifest(ctx context.Context) (io.ReadCloser, error) {
	v := s.Vault()
	key, err := v.lastManifest(ctx, s.id)
	if err != nil || key == "" {
		return nil, err
	}
	return v.openContent(ctx, key)
}

// Object opens stored content; reading to the end checks it.
func (s *ShardVault) Object(ctx context.Context, sha string) (io.ReadCloser, error) {
	if !isSHA(sha) {
		return nil, fail.Newf(fail.Invalid, "vault: object", s.id.String(), "%q is not a SHA-256", sha)
	}
	return s.Vault().openContent(ctx, ObjectKey(s.id, sha))
}

// Manifest opens a stored manifest; reading to the end checks it.
func (s *ShardVault) Manifest(ctx context.Context, sha string) (io.ReadCloser, error) {
	key, err := s.manis.find(ctx, s.Vault(), s.id, sha)
	if err != nil {
		return nil, err
	}
	return s.Vault().openContent(ctx, key)
}

// openContent unseals an object whose key says what its content must be, and
// checks that as well.
func (v *Vault) openContent(ctx context.Context, key string) (io.ReadCloser, error) {
	r, _, err := v.Unseal(ctx, key)
	if err != nil {
		return nil, err
	}
	return &contentReader{r: r, check: newContentCheck(key), subject: v.store.URL() + "/" + key}, nil
}

// contentCheck compares content with what its key says: the SHA-256 of objects
// and manifests, the length of chunks.
type contentCheck struct {
	sha  string
	h    hash.Hash
	want int64 // -1: not said
	n    int64
}

func newContentCheck(key string) *contentCheck {
	c := &contentCheck{want: -1}
	if _, sha, ok := ParseObjectKey(key); ok {
		c.sha, c.h = sha, sha256.New()
	} else if _, _, sha, ok := ParseManifestKey(key); ok {
		c.sha, c.h = sha, sha256.New()
	} else if ch, ok := ParseChunkKey(key); ok {
		c.want = int64(ch.Len())
	}
	return c
}

func (c *contentCheck) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	if c.h != nil {
		c.h.Write(p)
	}
	return len(p), nil
}

func (c *contentCheck) finish(subject string) error {
	var err error
	if c.h != nil {
		if got := hex.EncodeToString(c.h.Sum(nil)); got != c.sha {
			err = errors.New("SHA-256 of the content is " + got)
		}
	}
	if c.want >= 0 && c.n != c.want {
		err = errors.New("the content does not have the length that the key says")
	}
	if err != nil {
		return fail.New(fail.Corrupt, "vault: content", subject, "repair it from another region's vault", err)
	}
	return nil
}

type contentReader struct {
	r       io.ReadCloser
	check   *contentCheck
	subject string
}

func (c *contentReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	_, _ = c.check.Write(p[:n])
	if err == io.EOF {
		if bad := c.check.finish(c.subject); bad != nil {
			return n, bad
		}
	}
	return n, err
}

func (c *contentReader) Close() error { return c.r.Close() }
