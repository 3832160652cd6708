package vault

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/spool"
	"drctl/targets"
)

// MirrorOptions tune a Mirror.
type MirrorOptions struct {
	// Parallel is how many objects are copied at once; 0 means 6.
	Parallel int
	// Progress is called with bytes copied and bytes found missing so far; may be nil.
	Progress func(done, total int64)
	// HoldBack are shards of which nothing is copied, and no cut that needs them.
	HoldBack []targets.ShardID
}

// MirrorStats counts what a Mirror did.
type MirrorStats struct {
	Copied  int64 `json:"copied"`  // objects
	Bytes   int64 `json:"bytes"`   // as stored
	Present int64 `json:"present"` // objects that were there already
}

// Mirror copies what begins with prefix ("" for all) and is missing in to. It
// is a set union in one direction: nothing is overwritten or deleted. Every
// object is verified before it is stored: restic's files by their SHA-256
// names, encrypted objects by decrypting. Data comes before the records that need
// it, and records are listed before the data, so that what to holds is complete
// at every moment and after an interruption a repeat goes on. It takes no lock;
// it must not run while Retain runs on either vault.
//
// A damaged source object does not stop the others: it is named in the error,
// and the bases, object manifests and cuts that need its shard are held back.
func Mirror(ctx context.Context, from, to *Vault, prefix string, opt MirrorOptions) (MirrorStats, error) {
	if from == to {
		return MirrorStats{}, nil
	}

	if err := sameSet(from, to); err != nil {
		return MirrorStats{}, err
	}

	opt.Parallel = cmp.Or(opt.Parallel, 6)

	var stats MirrorStats
	for range 3 {
		m := &mirror{from: from, to: to, prefix: prefix, opt: opt, tainted: map[targets.ShardID]bool{}}
		for _, s := range opt.HoldBack {
			m.tainted[s] = true
		}

		err := m.run(ctx)
		stats.Copied += m.stats.Copied
		stats.Bytes += m.stats.Bytes

		stats.Present = m.stats.Present
		if err != nil {
			return stats, err
		}

		if !m.vanished {
			return stats, nil
		}
		// Something was pruned after it was listed; look again.
	}

	return stats, fail.New(fail.Stalled, "vault: mirror", from.String()+" to "+to.String(), "repeat when retention has ended",
		errors.New("the source kept changing while it was mirrored"))
}

type mirror struct {
	from, to *Vault
	prefix   string
	opt      MirrorOptions

	mu       sync.Mutex
	stats    MirrorStats
	missing  int64 // bytes found missing
	vanished bool
	tainted  map[targets.ShardID]bool // shards with damaged or uncopied data
	damaged  []error
}

// section is a part of a vault that is copied together.
type section struct {
	prefix string
	shard  targets.ShardID // zero for the common parts
	match  func(key string) bool
}

func all(string) bool { return true }

// run copies section by section. Closers (what names data) are listed first
// and copied last.
func (m *mirror) run(ctx context.Context) error {
	shards, err := m.from.Shards(ctx)
	if err != nil {
		return err
	}

	shards = slices.DeleteFunc(shards, func(s targets.ShardID) bool { return m.tainted[s] })
	var data, index, closers, records []section

	data = append(data, section{prefix: seedPrefix, match: all}, section{prefix: watchedRoot, match: isEncrypted})
	for _, s := range shards {
		r := ResticPrefix(s)
		isRecord := func(k string) bool { _, _, ok := ParseBaseRecordKey(k); return ok }
		data = append(data,
			section{r + "config", s, func(k string) bool { return k == r+"config" }},
			section{r + "keys/", s, resticName}, section{r + "data/", s, resticName},
			section{ObjectsPrefix(s), s, isEncrypted}, section{StreamPrefix(s), s, isEncrypted},
			section{BasesPrefix(s), s, func(k string) bool { return isEncrypted(k) && !isRecord(k) }})
		index = append(index, section{r + "index/", s, resticName})
		closers = append(closers, section{r + "snapshots/", s, resticName})
		records = append(records, section{BasesPrefix(s), s, isRecord}, section{ManifestsPrefix(s), s, isEncrypted})
	}
	cuts := section{prefix: cutsRoot, match: isEncrypted}
	reports := section{prefix: reportsRoot, match: isEncrypted}

	// Newest references first, so that whatever they need is in the later lists.
	order := [][]section{{cuts}, records, closers, index}

	held := make([][]pending, len(order))
	for i, secs := range order {
		for _, sec := range secs {
			for p, err := range m.missingIn(ctx, sec) {
				if err != nil {
					return err
				}
				held[i] = append(held[i], p)
			}
		}
	}

	if err := m.seeds(ctx, shards); err != nil {
		return err
	}

	for _, sec := range data {
		if err := m.copyAll(ctx, m.missingIn(ctx, sec)); err != nil {
			return err
		}
	}

	for i := len(held) - 1; i >= 0; i-- {
		if m.vanished {
			return nil // a record must not come before what was missed
		}

		if err := m.copyAll(ctx, sliceSeq(held[i])); err != nil {
			return err
		}
	}

	if err := m.copyAll(ctx, m.missingIn(ctx, reports)); err != nil {
		return err
	}

	return errors.Join(m.damaged...)
}

// seeds refuses to mix the repositories of two beginnings.
func (m *mirror) seeds(ctx context.Context, shards []targets.ShardID) error {
	for _, s := range shards {
		if !overlap(m.prefix, ResticPrefix(s)) {
			continue
		}
		a, _, errA := m.from.ReadEncrypted(ctx, seedKey(s))

		b, _, errB := m.to.ReadEncrypted(ctx, seedKey(s))
		switch {
		case fail.Is(errA, fail.NotFound):
		case errA != nil:
			return errA
		case fail.Is(errB, fail.NotFound):
			if err := m.to.plant(ctx, s, a); err != nil {
				return err
			}
		case errB != nil:
			return errB
		case string(a) != string(b):
			return conflictingSeeds(s, m.from, m.to)
		}
	}

	return nil
}

func overlap(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }

type pending struct {
	Info
	shard targets.ShardID
}

func sliceSeq(ps []pending) iter.Seq2[pending, error] {
	return func(yield func(pending, error) bool) {
		for _, p := range ps {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// missingIn merge-joins the two listings of a section, in constant memory.
func (m *mirror) missingIn(ctx context.Context, sec section) iter.Seq2[pending, error] {
	return func(yield func(pending, error) bool) {
		prefix := sec.prefix
		switch {
		case strings.HasPrefix(prefix, m.prefix):
		case strings.HasPrefix(m.prefix, prefix):
			prefix = m.prefix
		default:
			return
		}

		next, stop := iter.Pull2(m.to.store.List(ctx, prefix, ""))
		defer stop()

		have, err, more := next()
		for i, ferr := range m.from.store.List(ctx, prefix, "") {
			if ferr != nil {
				yield(pending{}, ferr)
				return
			}

			if !sec.match(i.Key) {
				continue
			}

			for more && err == nil && have.Key < i.Key {
				have, err, more = next()
			}

			if more && err != nil {
				yield(pending{}, err)
				return
			}

			if more && have.Key == i.Key {
				m.present(i, have)
				continue
			}

			if !yield(pending{i, sec.shard}, nil) {
				return
			}
		}
	}
}

// present counts an object that both have. Encrypted objects differ in every
// encryption, restic's files never do.
func (m *mirror) present(a, b Info) {
	m.mu.Lock()
	defer m.mu.Unlock()

	m.stats.Present++
	if strings.HasPrefix(a.Key, resticRoot) && a.Size != b.Size {
		m.damaged = append(m.damaged, fail.New(fail.Corrupt, "vault: mirror", a.Key, "verify both vaults",
			fmt.Errorf("%d bytes in %s, %d bytes in %s", a.Size, m.from, b.Size, m.to)))
	}
}

func (m *mirror) copyAll(ctx context.Context, todo iter.Seq2[pending, error]) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(m.opt.Parallel)

	var listErr error
	for p, err := range todo {
		if err != nil {
			listErr = err
			break
		}

		if gctx.Err() != nil {
			break
		}

		m.note(func() { m.missing += p.Size })
		g.Go(func() error { return m.copy(gctx, p) })
	}

	if err := g.Wait(); err != nil {
		return err
	}

	return listErr
}

func (m *mirror) note(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()

	f()

	if m.opt.Progress != nil {
		m.opt.Progress(m.stats.Bytes, m.missing)
	}
}

func (m *mirror) copy(ctx context.Context, p pending) error {
	sp := &spool.Spool{Dir: m.to.opt.TempDir}
	defer sp.Close()

	_, err := m.fetchTo(ctx, p.Key, sp)
	if err == nil {
		var hold bool
		if hold, err = m.holdBack(p, sp); hold {
			return err
		}
	}

	if err == nil {
		err = sp.Put(ctx, m.to.store, p.Key)
	}

	switch {
	case err == nil:
		m.note(func() { m.stats.Copied++; m.stats.Bytes += sp.Size() })
	case fail.Is(err, fail.NotFound):
		m.note(func() { m.vanished = true })
	case fail.Is(err, fail.Corrupt):
		m.note(func() {
			m.damaged = append(m.damaged, err)
			if p.shard != (targets.ShardID{}) {
				m.tainted[p.shard] = true
			}
		})
	default:
		return err
	}

	return nil
}

// fetchTo reads an object of the source into w and verifies it. It returns the
// length of the content, or of the file where it is not encrypted.
func (m *mirror) fetchTo(ctx context.Context, key string, w io.Writer) (int64, error) {
	src, err := m.from.store.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	defer src.Close()

	if isEncrypted(key) {
		return m.from.readThrough(key, struct {
			io.Reader
			io.Closer
		}{io.TeeReader(src, w), src})
	}
	h := sha256.New()

	n, err := io.Copy(io.MultiWriter(w, h), src)
	if err != nil {
		return n, fail.From(fail.Unavailable, "vault: mirror", m.from.store.URL()+"/"+key, err)
	}

	name := key[strings.LastIndexByte(key, '/')+1:]
	if got := hex.EncodeToString(h.Sum(nil)); name != "config" && name != got {
		return n, fail.New(fail.Corrupt, "vault: mirror", m.from.store.URL()+"/"+key, "repair it from another region's vault",
			fmt.Errorf("SHA-256 of the file is %s", got))
	}

	return n, nil
}

// holdBack reports that a record must not be copied, as the shard that it
// needs has damage in the source.
func (m *mirror) holdBack(p pending, sp *spool.Spool) (bool, error) {
	m.mu.Lock()
	tainted, dirty := m.tainted[p.shard], len(m.tainted) > 0
	m.mu.Unlock()

	_, _, isRecord := ParseBaseRecordKey(p.Key)

	_, _, _, isManifest := ParseManifestKey(p.Key)
	if isRecord || isManifest || strings.Contains(p.Key, "/snapshots/") && strings.HasPrefix(p.Key, resticRoot) {
		return tainted, nil
	}

	if _, _, isCut := ParseCutKey(p.Key); !isCut || !dirty {
		return false, nil
	}

	r, _, err := m.from.decryptFrom(p.Key, io.NopCloser(sp.Reader()))
	if err != nil {
		return true, err
	}
	defer r.Close()

	var c targets.Cut
	if err := json.NewDecoder(r).Decode(&c); err != nil {
		return true, fail.New(fail.Corrupt, "vault: mirror", p.Key, "", err)
	}

	m.mu.Lock()
	defer m.mu.Unlock()

	for s := range m.tainted {
		if _, needs := c.Point(s); needs {
			return true, nil
		}
	}

	return false, nil
}

// readThrough decrypts an object to its end, checks what its key says of the
// content, and returns the content's length.
func (v *Vault) readThrough(key string, src io.ReadCloser) (int64, error) {
	u, _, err := v.decryptFrom(key, src)
	if err != nil {
		return 0, err
	}
	defer u.Close()

	check := newContentCheck(key)
	if _, err := io.Copy(check, u); err != nil {
		return check.n, err
	}

	return check.n, check.finish(v.store.URL() + "/" + key)
}

// resticName reports whether the key is a content-named file of a repository:
// not a lock, not a temporary file.
func resticName(key string) bool { return targets.IsSHA256(key[strings.LastIndexByte(key, '/')+1:]) }
