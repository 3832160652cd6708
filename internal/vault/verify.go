package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/manifest"
	"drctl/internal/vault/restic"
	"drctl/targets"
)

// VerifyOptions say what to verify and how deep.
type VerifyOptions struct {
	// Shards and Groups limit the verification; both empty means everything.
	// vault.json, keys/ and reports/ are always read.
	Shards []targets.ShardID
	Groups []string
	// ReadData is restic's --read-data-subset ("1/10", "5%", "100%"); empty
	// checks only that every pack of a repository exists with its right size
	// and that its structure is whole.
	ReadData string
	// Since skips reading encrypted objects that were stored before it: the start
	// of the last verification that passed. That they exist where something
	// needs them is checked all the same. Zero reads everything.
	Since time.Time
	// Parallel is how many objects are read at once; 0 means 6.
	Parallel int
	// Progress is called with bytes read so far; the total is not known. May be nil.
	Progress targets.Progress
}

// Names of the checks in findings.
const (
	CheckIdentity  = "vault: vault.json and its keys"
	CheckEncrypted = "vault: encrypted objects"
	CheckCuts      = "vault: cuts"
	CheckBases     = "vault: bases"
	CheckRestic    = "vault: restic repository"
	CheckManifest  = "vault: object manifests"
)

// Verify reads what the vault holds and returns one Failed finding for each
// thing that is wrong, naming the region, the key and the damage, and a Passed
// finding for each check that found nothing. It reads and decrypts every encrypted
// object (its key, its authentication, its SHA-256 or length where the key
// says one), every record, that what records name exists, and runs restic's
// own check. It takes no lock and writes nothing. Whether streams have gaps, and
// observations are whole, is for the packages that write them to say. An error means that verifying was not
// possible, not that something is damaged; the findings so far come with it.
func (v *Vault) Verify(ctx context.Context, o VerifyOptions) ([]targets.Finding, error) {
	if o.Parallel <= 0 {
		o.Parallel = 6
	}
	c := &checker{v: v, o: o}
	err := c.run(ctx)
	slices.SortStableFunc(c.findings, func(a, b targets.Finding) int {
		if a.Severity == b.Severity {
			return 0
		} else if a.Severity == targets.Failed {
			return -1
		}

		return 1
	})

	return c.findings, err
}

type checker struct {
	v        *Vault
	o        VerifyOptions
	mu       sync.Mutex
	findings []targets.Finding
	bytes    int64
}

func (c *checker) add(f targets.Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.findings = append(c.findings, f)
}

// bad records damage; any other error ends the verification.
func (c *checker) bad(check, subject string, err error) error {
	if !fail.Is(err, fail.Corrupt) && !fail.Is(err, fail.NotFound) {
		return err
	}

	c.add(targets.Finding{Check: check, Subject: c.v.Region() + ": " + subject, Severity: targets.Failed, Detail: err.Error()})

	return nil
}

func (c *checker) failures() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()

	for _, f := range c.findings {
		if f.Severity == targets.Failed {
			n++
		}
	}

	return n
}

// section runs one check and adds a Passed finding when it found nothing.
func (c *checker) section(check, subject string, f func() (detail string, err error)) error {
	before, start := c.failures(), time.Now()

	detail, err := f()
	if err == nil && c.failures() == before {
		c.add(targets.Finding{Check: check, Subject: c.v.Region() + ": " + subject, Severity: targets.Passed,
			Detail: detail, Took: time.Since(start)})
	}

	return err
}

func (c *checker) run(ctx context.Context) error {
	shards, groups := c.o.Shards, c.o.Groups

	var err error
	if len(shards) == 0 && len(groups) == 0 {
		if shards, err = c.v.Shards(ctx); err != nil {
			return err
		}

		if groups, err = c.v.Groups(ctx); err != nil {
			return err
		}
	}

	if err := c.identity(ctx); err != nil {
		return err
	}

	for _, prefix := range []string{keysRoot, reportsRoot} {
		if err := c.encrypted(ctx, prefix); err != nil {
			return err
		}
	}

	for _, g := range groups {
		if err := c.cuts(ctx, g, &shards); err != nil {
			return err
		}
	}

	for _, s := range shards {
		for _, prefix := range []string{StreamPrefix(s), BasesPrefix(s), SnapshotsPrefix(s)} {
			if err := c.encrypted(ctx, prefix); err != nil {
				return err
			}
		}

		if err := c.bases(ctx, s); err != nil {
			return err
		}

		if err := c.manifests(ctx, s); err != nil {
			return err
		}
	}

	return nil
}

// identity checks what Open checks, which a worker did long ago.
func (c *checker) identity(ctx context.Context) error {
	return c.section(CheckIdentity, descriptorKey, func() (string, error) {
		d, err := c.v.describe(ctx)
		if err == nil {
			err = c.v.believe(ctx, d)
		}

		if err == nil {
			_, err = c.v.prove(ctx, d)
		}

		if err != nil {
			return "", c.bad(CheckIdentity, descriptorKey, err)
		}

		return "region, set, recipient and restic password belong together", nil
	})
}

// encrypted reads every encrypted object under prefix.
func (c *checker) encrypted(ctx context.Context, prefix string) error {
	return c.section(CheckEncrypted, prefix, func() (string, error) {
		var count, skipped int64
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(c.o.Parallel)

		var listErr error
		for i, err := range c.v.store.List(ctx, prefix, "") {
			if err != nil {
				listErr = err
				break
			}

			if gctx.Err() != nil {
				break
			}

			if !isEncrypted(i.Key) {
				c.add(targets.Finding{Check: CheckEncrypted, Subject: c.v.Region() + ": " + i.Key, Severity: targets.Warned,
					Detail: "drctl does not write such a name"})

				continue
			}

			if strings.HasPrefix(i.Key, streamsRoot) && !InStream(i.Key) {
				c.add(targets.Finding{Check: CheckEncrypted, Subject: c.v.Region() + ": " + i.Key, Severity: targets.Failed,
					Detail: "no archiver writes such a name: it is not read as a part of the log"})

				continue
			}

			if i.Modified.Before(c.o.Since) {
				skipped++
				continue
			}

			count++

			g.Go(func() error { return c.read(gctx, i) })
		}

		if err := g.Wait(); err != nil {
			return "", err
		}

		return fmt.Sprintf("%d objects read, %d verified before", count, skipped), listErr
	})
}

func (c *checker) read(ctx context.Context, i Info) error {
	src, err := c.v.store.Get(ctx, i.Key)
	if err == nil {
		_, err = c.v.readThrough(i.Key, src)
		_ = src.Close()
	} else if fail.Is(err, fail.NotFound) {
		return nil // removed by retention since the listing; what needs it is checked elsewhere
	}

	c.mu.Lock()
	c.bytes += i.Size
	done := c.bytes
	c.mu.Unlock()
	c.o.Progress.Report("verify", done, 0)

	if err != nil {
		return c.bad(CheckEncrypted, i.Key, err)
	}

	return nil
}

// cuts reads every cut of a group and checks that what it names exists. Shards
// of the cuts are added to the list.
func (c *checker) cuts(ctx context.Context, group string, shards *[]targets.ShardID) error {
	return c.section(CheckCuts, CutsPrefix(group), func() (string, error) {
		keys, err := c.v.keys(ctx, CutsPrefix(group), "", func(k string) bool { return isEncrypted(k) && !strings.HasSuffix(k, evidenceSuffix) })
		if err != nil {
			return "", err
		}

		if len(keys) == 0 && slices.Contains(c.o.Groups, group) {
			c.add(targets.Finding{Check: CheckCuts, Subject: c.v.Region() + ": " + CutsPrefix(group), Severity: targets.Warned, Detail: "the group has no cuts"})
		}
		manifests := map[targets.ShardID]map[string]string{}
		var mu sync.Mutex
		var cuts []targets.Cut
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(readsAtOnce)

		for _, key := range keys {
			g.Go(func() error {
				cut, err := readRecord(gctx, c.v, key, c.v.checkCut)
				if err != nil {
					return c.bad(CheckCuts, key, err)
				}

				mu.Lock()
				cuts = append(cuts, cut)

				mu.Unlock()

				return nil
			})
		}

		if err := g.Wait(); err != nil {
			return "", err
		}

		for _, cut := range cuts {
			for _, p := range cut.Shards {
				if !slices.Contains(*shards, p.Shard) {
					*shards = append(*shards, p.Shard)
				}

				if !p.Kind.Traits().Manifest || p.Position.Manifest == "" {
					continue
				}

				if manifests[p.Shard] == nil {
					if manifests[p.Shard], err = c.v.manifestKeys(ctx, p.Shard); err != nil {
						return "", err
					}
				}

				if _, ok := manifests[p.Shard][p.Position.Manifest]; !ok {
					c.add(targets.Finding{Check: CheckCuts, Subject: c.v.Region() + ": " + CutKey(cut.Group, cut.ID), Severity: targets.Failed,
						Expected: "manifest " + p.Position.Manifest + " of " + p.Shard.String(), Got: "missing"})
				}
			}
		}

		return fmt.Sprintf("%d cuts", len(cuts)), nil
	})
}

// manifestKeys lists a shard's manifests by their SHA-256.
func (v *Vault) manifestKeys(ctx context.Context, s targets.ShardID) (map[string]string, error) {
	m := map[string]string{}
	for i, err := range v.store.List(ctx, ManifestsPrefix(s), "") {
		if err != nil {
			return nil, err
		}

		if _, _, sha, ok := ParseManifestKey(i.Key); ok {
			m[sha] = i.Key
		}
	}

	return m, nil
}

// bases checks the shard's repository and that every base's content exists.
func (c *checker) bases(ctx context.Context, s targets.ShardID) error {
	keys, err := c.v.keys(ctx, BasesPrefix(s), "", func(k string) bool { _, _, ok := ParseBaseRecordKey(k); return ok })
	if err != nil {
		return err
	}
	_, err = c.v.store.Stat(ctx, ResticPrefix(s)+"config")

	hasRepo := err == nil
	if err != nil && !fail.Is(err, fail.NotFound) {
		return err
	}

	if len(keys) == 0 && !hasRepo {
		return nil
	}

	repo, err := c.v.repo(s)
	if err != nil {
		return err
	}
	snapshots := map[string]bool{}

	err = c.section(CheckRestic, ResticPrefix(s), func() (string, error) {
		rep, err := c.checkRepo(ctx, s, repo, snapshots)
		if err != nil {
			return "", c.bad(CheckRestic, ResticPrefix(s), err)
		}

		for _, p := range rep.Problems {
			c.add(targets.Finding{Check: CheckRestic, Subject: c.v.Region() + ": " + ResticPrefix(s), Severity: targets.Failed, Detail: p})
		}

		depth := "structure and pack sizes"
		if c.o.ReadData != "" {
			depth += ", data read: " + c.o.ReadData
		}

		return depth, nil
	})
	if err != nil {
		return err
	}

	return c.section(CheckBases, BasesPrefix(s), func() (string, error) {
		for _, key := range keys {
			a, err := readRecord(ctx, c.v, key, c.v.checkBase)
			if err != nil {
				if err := c.bad(CheckBases, key, err); err != nil {
					return "", err
				}

				continue
			}

			if err := c.base(ctx, key, a, snapshots); err != nil {
				return "", err
			}
		}

		return fmt.Sprintf("%d bases", len(keys)), nil
	})
}

func (c *checker) checkRepo(ctx context.Context, s targets.ShardID, repo *restic.Repo, snapshots map[string]bool) (restic.Report, error) {
	c.o.Progress.Report("restic check of "+s.String(), 0, 0)

	list, err := repo.Snapshots(ctx)
	if err != nil {
		return restic.Report{}, err
	}

	for _, s := range list {
		snapshots[s.ID] = true
	}

	return repo.Check(ctx, restic.Check{ReadData: c.o.ReadData})
}

// base checks that a base's snapshot can be read and its files are there and right.
func (c *checker) base(ctx context.Context, key string, a targets.Artifact, snapshots map[string]bool) error {
	for _, id := range SnapshotsOf(a) {
		if snapshots[id] {
			continue
		}

		_, err := c.v.store.Stat(ctx, ResticPrefix(a.Shard)+"snapshots/"+id)
		if err != nil && !fail.Is(err, fail.NotFound) {
			return err
		}

		got := "missing"
		if err == nil {
			got = "unreadable"
		}

		c.add(targets.Finding{Check: CheckBases, Subject: c.v.Region() + ": " + key, Severity: targets.Failed,
			Expected: "restic snapshot " + id, Got: got})
	}

	for name := range a.Files {
		if _, err := c.v.Shard(a.Shard).File(ctx, a, name); err != nil {
			if err := c.bad(CheckBases, BaseFileKey(a.Shard, a.ID, name), err); err != nil {
				return err
			}
		}
	}

	return nil
}

// manifests checks that every object that a manifest names is stored.
func (c *checker) manifests(ctx context.Context, s targets.ShardID) error {
	keys, err := c.v.manifestKeys(ctx, s)
	if err != nil || len(keys) == 0 {
		return err
	}

	return c.section(CheckManifest, ManifestsPrefix(s), func() (string, error) {
		// Manifests first: what they name was stored before them.
		named := map[hash32]string{}
		for _, key := range keys {
			err := c.v.manifestRefs(ctx, key, func(h hash32) { named[h] = key })
			if errors.Is(err, manifest.ErrMalformed) {
				c.add(targets.Finding{Check: CheckManifest, Subject: c.v.Region() + ": " + key, Severity: targets.Failed,
					Expected: "a manifest that a restore accepts", Got: err.Error()})

				continue
			}

			if fail.Is(err, fail.Corrupt) || fail.Is(err, fail.NotFound) {
				continue // reported by the reading of encrypted objects, or removed meanwhile
			}

			if err != nil {
				return "", err
			}
		}

		n := len(named)
		for i, err := range c.v.store.List(ctx, ObjectsPrefix(s), "") {
			if err != nil {
				return "", err
			}

			if h, ok := objectHash(i.Key); ok {
				delete(named, h)
			}
		}

		for h, key := range named {
			c.add(targets.Finding{Check: CheckManifest, Subject: c.v.Region() + ": " + ObjectKey(s, fmt.Sprintf("%x", h)), Severity: targets.Failed,
				Expected: "an object that " + key + " names", Got: "missing"})
		}

		return fmt.Sprintf("%d manifests, %d distinct objects named", len(keys), n), nil
	})
}

// Damaged reports whether any finding is Failed.
func Damaged(fs []targets.Finding) bool {
	return slices.ContainsFunc(fs, func(f targets.Finding) bool { return f.Severity == targets.Failed })
}
