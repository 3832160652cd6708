package vault

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync"

	"drctl/internal/fail"
	"drctl/internal/vault/restic"
	"drctl/targets"
)

// ShardVault is one shard's door to the vaults of a set. It implements
// targets.Sink and targets.ObjectSink, and of targets.Source all but the
// stream (Log, History). Writes of trees and streams go to the first vault and
// are mirrored to the others; the rest is written to all. Reads come from the
// first vault. An object snapshot takes a door of its own, as a door remembers
// which vaults have fallen behind. It is safe for concurrent use.
type ShardVault struct {
	set  Set
	id   targets.ShardID
	base string

	seeded  sync.Mutex
	ready   bool // the repository exists in every vault
	objects objectIndex
	manis   manifestIndex
	follow  follow
	doomed  doomed
}

var (
	_ targets.Sink         = (*ShardVault)(nil)
	_ targets.ObjectSink   = (*ShardVault)(nil)
	_ targets.ObjectSource = (*ShardVault)(nil)
)

// ForBase returns a door whose snapshots are tagged with the base's id.
func (s *ShardVault) ForBase(id string) *ShardVault {
	return &ShardVault{set: s.set, id: s.id, base: id}
}

// ID is the shard.
func (s *ShardVault) ID() targets.ShardID { return s.id }

// Vault is the vault that reads come from.
func (s *ShardVault) Vault() *Vault { return s.set.Vaults[0] }

// SaveTree backs up a directory into the first vault's repository and mirrors
// the repository to the others.
func (s *ShardVault) SaveTree(ctx context.Context, req targets.TreeRequest) (targets.Saved, error) {
	return s.save(ctx, func(r *restic.Repo) (restic.Summary, string, error) {
		sum, err := r.Backup(ctx, restic.Backup{
			Dir: req.Dir, Exclude: req.Exclude, Full: req.Full, Vanishing: req.Vanishing, Tag: s.tag(),
			Progress: func(done, total int64) { req.Progress.Report("save", done, total) },
		})

		return sum, req.Dir, err
	}, req.Progress)
}

// SaveStream saves bytes of unknown length under a file name. A reader that
// fails leaves no snapshot.
func (s *ShardVault) SaveStream(ctx context.Context, name string, r io.Reader, p targets.Progress) (targets.Saved, error) {
	if err := ValidName(name); err != nil {
		return targets.Saved{}, err
	}

	return s.save(ctx, func(repo *restic.Repo) (restic.Summary, string, error) {
		sum, err := repo.BackupStream(ctx, restic.Stream{
			Name: name, Reader: r, Tag: s.tag(),
			Progress: func(done, total int64) { p.Report("save", done, total) },
		})

		return sum, "/" + name, err
	}, p)
}

func (s *ShardVault) tag() string {
	if s.base == "" {
		return "drctl"
	}

	return "base=" + s.base
}

func (s *ShardVault) save(ctx context.Context, f func(*restic.Repo) (restic.Summary, string, error), p targets.Progress) (targets.Saved, error) {
	if err := s.ensureRepository(ctx); err != nil {
		return targets.Saved{}, err
	}

	repo, err := s.Vault().repo(s.id)
	if err != nil {
		return targets.Saved{}, err
	}

	sum, path, err := f(repo)
	if err != nil {
		return targets.Saved{}, err
	}
	saved := targets.Saved{Snapshot: sum.Snapshot, Path: path, Bytes: sum.Bytes, BytesAdded: sum.BytesAdded, Files: sum.Files}

	p.Report("mirror", 0, 0)
	_, err = s.set.durable(ctx, ResticPrefix(s.id)+"snapshots/"+saved.Snapshot, s.each(ctx, func(ctx context.Context, v *Vault) error {
		return s.mirrorRepository(ctx, v, p)
	}))

	return saved, err
}

// each is Set.Each without the limit for stragglers: copying a base takes what it takes.
func (s *ShardVault) each(ctx context.Context, f func(context.Context, *Vault) error) []error {
	all := Set{Vaults: s.set.Vaults}
	return all.Each(ctx, f)
}

// mirrorRepository copies the repository from the first vault to v.
func (s *ShardVault) mirrorRepository(ctx context.Context, v *Vault, p targets.Progress) error {
	if v == s.Vault() {
		return nil
	}
	_, err := Mirror(ctx, s.Vault(), v, ResticPrefix(s.id), MirrorOptions{
		Progress: func(done, total int64) { p.Report("mirror", done, total) },
	})

	return err
}

// holdsBase makes sure that v has everything that the record of a names.
func (s *ShardVault) holdsBase(ctx context.Context, v *Vault, a targets.Artifact) error {
	missing, err := s.missingOf(ctx, v, a)
	if err != nil || missing == "" {
		return err
	}

	if v != s.Vault() {
		for _, prefix := range []string{ResticPrefix(s.id), BasesPrefix(s.id) + a.ID + "/"} {
			if _, err := Mirror(ctx, s.Vault(), v, prefix, MirrorOptions{}); err != nil {
				return err
			}
		}

		if missing, err = s.missingOf(ctx, v, a); err != nil || missing == "" {
			return err
		}
	}

	return fail.New(fail.NotFound, "vault: save base", v.store.URL()+"/"+missing, "save the base's content before its record",
		fmt.Errorf("base %s of %s is not complete in this vault", a.ID, a.Shard))
}

func (s *ShardVault) missingOf(ctx context.Context, v *Vault, a targets.Artifact) (string, error) {
	var keys []string
	for _, id := range SnapshotsOf(a) {
		keys = append(keys, ResticPrefix(s.id)+"snapshots/"+id)
	}

	for name := range a.Files {
		keys = append(keys, BaseFileKey(s.id, a.ID, name))
	}

	for _, k := range keys {
		if _, err := v.store.Stat(ctx, k); fail.Is(err, fail.NotFound) {
			return k, nil
		} else if err != nil {
			return "", err
		}
	}

	return "", nil
}

// SaveFile keeps a small file beside the base and returns its SHA-256 in hex.
func (s *ShardVault) SaveFile(ctx context.Context, base, name string, content []byte) (string, error) {
	sum := sha256.Sum256(content)
	sha := hex.EncodeToString(sum[:])
	_, err := s.set.PutEncrypted(ctx, BaseFileKey(s.id, base, name), map[string]string{"sha256": sha}, content)

	return sha, err
}

// File reads a file saved by SaveFile and checks it against the artifact.
func (s *ShardVault) File(ctx context.Context, a targets.Artifact, name string) ([]byte, error) {
	want, ok := a.Files[name]
	if !ok {
		return nil, fail.Newf(fail.NotFound, "vault: base file", a.Shard.String()+" "+a.ID, "the base has no file %q", name)
	}
	key := BaseFileKey(s.id, a.ID, name)

	b, _, err := s.Vault().ReadEncrypted(ctx, key)
	if err != nil {
		return nil, err
	}

	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want {
		return nil, fail.New(fail.Corrupt, "vault: base file", s.Vault().store.URL()+"/"+key, "",
			fmt.Errorf("SHA-256 is %x, the base's record says %s", sum, want))
	}

	return b, nil
}

// RestoreTree writes the snapshot's path to dir, which becomes its root. With
// delta, what is equal already is left, and what the snapshot lacks is deleted.
func (s *ShardVault) RestoreTree(ctx context.Context, a targets.Artifact, dir string, delta bool, p targets.Progress) error {
	repo, err := s.Vault().openRepo(ctx, s.id)
	if err != nil {
		return err
	}

	return repo.Restore(ctx, restic.Restore{
		Snapshot: a.Snapshot, Path: a.Path, Dir: dir, Delta: delta, Keep: targets.ClaimFile,
		Progress: func(done, total int64) { p.Report("restore", done, total) },
	})
}

// OpenStream reads a file saved by SaveStream. A stream that is cut short ends
// in an error, not in io.EOF.
func (s *ShardVault) OpenStream(ctx context.Context, a targets.Artifact) (io.ReadCloser, error) {
	repo, err := s.Vault().openRepo(ctx, s.id)
	if err != nil {
		return nil, err
	}

	return repo.Dump(ctx, a.Snapshot, a.Path)
}
