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
	"drctl/internal/spool"
	"drctl/targets"
)

// catchUp is how long one snapshot waits in all for a vault that lags, while
// enough others hold everything.
const catchUp = 10 * time.Second

// follow knows which of a door's vaults keep up: those that hold every object
// that HasObject has confirmed and PutObject has stored. As a manifest goes to
// no other, a vault that has a manifest has every object that it names.
type follow struct {
	mu     sync.Mutex
	behind map[*Vault]bool
	until  map[*Vault]time.Time // when catching up ends
}

// keepUp is the vaults that have not fallen behind. They are as many as the
// policy asks for, or more.
func (s *ShardVault) keepUp() Set {
	s.follow.mu.Lock()
	defer s.follow.mu.Unlock()

	set := Set{Durability: s.set.Need(), Away: s.set.Away}
	for _, v := range s.set.Vaults {
		if !s.follow.behind[v] {
			set.Vaults = append(set.Vaults, v)
		}
	}

	return set
}

// leave goes on without a vault, for the life of this door. It refuses, and
// returns err, when the policy needs the vault or the call itself has ended.
func (s *ShardVault) leave(ctx context.Context, v *Vault, err error) error {
	s.follow.mu.Lock()
	defer s.follow.mu.Unlock()

	if s.follow.behind[v] {
		return nil
	}

	if ctx.Err() != nil || len(s.set.Vaults)-len(s.follow.behind) <= s.set.Need() {
		return err
	}

	if s.follow.behind == nil {
		s.follow.behind = map[*Vault]bool{}
	}
	s.follow.behind[v] = true
	v.log.WarnContext(ctx, "vault is behind: it gets no manifest of this snapshot, the next one brings it up", "shard", s.id.String(), "err", err)

	return nil
}

// patience bounds the copying to a vault that the policy can do without.
func (s *ShardVault) patience(ctx context.Context, v *Vault) (context.Context, context.CancelFunc) {
	s.follow.mu.Lock()
	defer s.follow.mu.Unlock()

	if len(s.set.Vaults)-len(s.follow.behind) <= s.set.Need() {
		return context.WithCancel(ctx)
	}

	if s.follow.until == nil {
		s.follow.until = map[*Vault]time.Time{}
	}

	if s.follow.until[v].IsZero() {
		s.follow.until[v] = time.Now().Add(catchUp)
	}

	return context.WithDeadline(ctx, s.follow.until[v])
}

// question bounds what a vault is asked that the policy can do without.
func (s *ShardVault) question(ctx context.Context) (context.Context, context.CancelFunc) {
	s.follow.mu.Lock()
	defer s.follow.mu.Unlock()

	if len(s.set.Vaults)-len(s.follow.behind) <= s.set.Need() {
		return context.WithCancel(ctx)
	}

	return context.WithTimeout(ctx, catchUp)
}

// HasObject reports whether the content is stored in every vault that keeps
// up, at least in as many as the policy asks for. A vault that lacks it gets it
// from another; one that cannot be brought up in time falls behind. It is cheap
// for many objects: past a few questions it lists one of the 256 folders of a
// shard and remembers it for ten minutes.
func (s *ShardVault) HasObject(ctx context.Context, sha string) (bool, error) {
	if !targets.IsSHA256(sha) {
		return false, fail.Newf(fail.Invalid, "vault: object", s.id.String(), "%q is not a SHA-256", sha)
	}

	var have, lack []*Vault
	for _, v := range s.keepUp().Vaults {
		qctx, cancel := s.question(ctx)
		ok, err := s.holds(qctx, v, sha)

		cancel()

		switch {
		case err != nil:
			if err := s.leave(ctx, v, err); err != nil {
				return false, err
			}
		case ok:
			have = append(have, v)
		default:
			lack = append(lack, v)
		}
	}

	if len(have) == 0 {
		return false, nil
	}

	for _, v := range lack {
		whole, err := s.bringUp(ctx, have[0], v, sha)
		if !whole {
			return false, nil // to be read from the store again
		}

		if err != nil {
			if err := s.leave(ctx, v, err); err != nil {
				return false, err
			}
		}
	}

	return true, nil
}

// bringUp copies an object from one vault to another. Whole is false when the
// source could not give it; err is the other vault's.
func (s *ShardVault) bringUp(parent context.Context, from, to *Vault, sha string) (whole bool, err error) {
	ctx, cancel := s.patience(parent, to)
	defer cancel()
	key := ObjectKey(s.id, sha)

	sp := &spool.Spool{Dir: to.opt.TempDir}
	defer sp.Close()

	m := &mirror{from: from, to: to}
	if _, err := m.fetchTo(ctx, key, sp); err != nil {
		if ctx.Err() != nil {
			return true, err
		}

		from.log.WarnContext(ctx, "an object cannot be copied to another vault", "key", key, "err", err)

		return false, nil
	}

	if err := sp.Put(ctx, to.store, key); err != nil {
		return true, err
	}

	s.objects.add([]*Vault{to}, sha)

	return true, nil
}

// PutObject stores content whose SHA-256 is not known before, reading r once.
// Vaults that hold the content already are left alone; one that does not take
// it in time falls behind.
func (s *ShardVault) PutObject(ctx context.Context, r io.Reader) (string, int64, error) {
	if err := s.set.check(); err != nil {
		return "", 0, err
	}

	sp := &spool.Spool{Dir: s.Vault().opt.TempDir, Hidden: true}
	defer sp.Close()

	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(h, sp), ctxReader{ctx, r}); err != nil {
		return "", 0, fail.From(fail.Unavailable, "vault: put object", s.id.String(), err)
	}
	sha := hex.EncodeToString(h.Sum(nil))
	key := ObjectKey(s.id, sha)
	to := s.keepUp()

	errs := s.putContent(ctx, to, key, nil, sp, func(ctx context.Context, v *Vault) (bool, error) {
		return s.holds(ctx, v, sha)
	})
	if _, err := to.durable(ctx, key, errs); err != nil {
		return "", 0, err
	}

	for i, v := range to.Vaults {
		if errs[i] == nil {
			s.objects.add([]*Vault{v}, sha)
		} else if err := s.leave(ctx, v, errs[i]); err != nil {
			return "", 0, err
		}
	}

	return sha, sp.Size(), nil
}

// putContent encrypts what sp holds once and stores it in the vaults that lack it.
func (s *ShardVault) putContent(ctx context.Context, to Set, key string, meta map[string]string, sp *spool.Spool, has func(context.Context, *Vault) (bool, error)) []error {
	encrypted := &spool.Spool{Dir: s.Vault().opt.TempDir}
	defer encrypted.Close()
	encrypt := sync.OnceValue(func() error { return s.Vault().EncryptTo(encrypted, key, meta, sp.Reader()) })

	return to.Each(ctx, func(ctx context.Context, v *Vault) error {
		if ok, err := has(ctx, v); ok || err != nil {
			return err
		}

		if err := encrypt(); err != nil {
			return err
		}

		return encrypted.Put(ctx, v.store, key)
	})
}

// PutManifest stores a finished manifest in the vaults that hold every object
// it names, and returns its SHA-256 in hex. It may name only objects that this
// same door has confirmed (HasObject) or stored (PutObject), in the 24 hours
// since it was first asked. A manifest equal to a vault's newest is not stored
// again, unless that is damaged at its beginning. AsOf, the instant whose state it holds, is kept in its header.
func (s *ShardVault) PutManifest(ctx context.Context, asOf time.Time, r io.Reader) (string, error) {
	if err := s.set.check(); err != nil {
		return "", err
	}

	sp := &spool.Spool{Dir: s.Vault().opt.TempDir, Hidden: true}
	defer sp.Close()

	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(h, sp), ctxReader{ctx, r}); err != nil {
		return "", fail.From(fail.Unavailable, "vault: put manifest", s.id.String(), err)
	}
	sha := hex.EncodeToString(h.Sum(nil))

	key := ManifestKey(s.id, s.Vault().opt.Now(), sha)
	if s.doomed.expired() {
		return "", fail.Newf(fail.Stalled, "vault: put manifest", s.id.String(), "the snapshot took longer than %s: retention may have deleted what it found", snapshotLimit)
	}
	to := s.keepUp()
	_, err := to.durable(ctx, key, s.putContent(ctx, to, key, map[string]string{metaAsOf: asOf.UTC().Format(time.RFC3339Nano)}, sp, func(ctx context.Context, v *Vault) (bool, error) {
		last, err := v.lastManifest(ctx, s.id)
		if err != nil {
			return false, err
		}

		_, _, have, ok := ParseManifestKey(last)
		if !ok || have != sha {
			return false, nil
		}

		return v.opens(ctx, last)
	}))

	return sha, err
}

// opens reports whether an encrypted object is there and its header can be read.
func (v *Vault) opens(ctx context.Context, key string) (bool, error) {
	r, _, err := v.Decrypt(ctx, key)
	switch {
	case fail.Is(err, fail.Corrupt), fail.Is(err, fail.NotFound):
		return false, nil
	case err != nil:
		return false, err
	}

	return true, r.Close()
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

// LastManifest opens the newest manifest of any of the vaults, or returns nil
// without error when there is none.
func (s *ShardVault) LastManifest(ctx context.Context) (io.ReadCloser, error) {
	var from *Vault

	newest := ""
	for _, v := range s.keepUp().Vaults {
		qctx, cancel := s.question(ctx)
		key, err := v.lastManifest(qctx, s.id)

		cancel()

		if err != nil {
			if err := s.leave(ctx, v, err); err != nil {
				return nil, err
			}
		} else if key > newest {
			from, newest = v, key
		}
	}

	if from == nil {
		return nil, nil
	}

	return from.openContent(ctx, newest)
}

// Object opens stored content; reading to the end checks it.
func (s *ShardVault) Object(ctx context.Context, sha string) (io.ReadCloser, error) {
	if !targets.IsSHA256(sha) {
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

// openContent decrypts an object whose key says what its content must be, and
// checks that as well.
func (v *Vault) openContent(ctx context.Context, key string) (io.ReadCloser, error) {
	r, _, err := v.Decrypt(ctx, key)
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
