package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"drctl/internal/fail"
	"drctl/internal/s3client"
	"drctl/internal/vault/restic"
	"drctl/targets"
)

// repo is the shard's repository as restic sees it. It touches nothing.
func (v *Vault) repo(shard targets.ShardID) (*restic.Repo, error) {
	p, err := v.opt.Location.parse()
	if err != nil {
		return nil, err
	}
	l := v.opt.Location
	r := &restic.Repo{Bin: v.opt.ResticBin, Password: v.password, TempDir: v.opt.TempDir}

	path := strings.TrimSuffix(ResticPrefix(shard), "/")
	if p.dir != "" {
		r.Location = p.dir + "/" + path
		return r, nil
	}

	end, region := strings.TrimSuffix(l.Endpoint, "/"), l.Region
	if region == "" {
		region = s3client.DefaultRegion
	}

	if end == "" {
		end = "https://s3." + region + ".amazonaws.com"
	}
	r.Location = "s3:" + end + "/" + p.bucket + "/" + p.prefix + path
	r.AccessKey, r.SecretKey, r.Region, r.CacheDir = l.AccessKey, l.SecretKey, region, v.opt.CacheDir

	return r, nil
}

// openRepo is repo after asking the store for the config: restic itself would
// retry an unreachable server for a quarter of an hour.
func (v *Vault) openRepo(ctx context.Context, shard targets.ShardID) (*restic.Repo, error) {
	r, err := v.repo(shard)
	if err != nil {
		return nil, err
	}

	if _, err := v.store.Stat(ctx, ResticPrefix(shard)+"config"); err != nil {
		if fail.Is(err, fail.NotFound) {
			return nil, fail.New(fail.NotFound, "vault: repository", v.String()+" "+shard.String(),
				"no base of this shard has been stored in this vault", err)
		}

		return nil, err
	}

	return r, nil
}

var versions sync.Map // restic path -> error of its version check, or nil

func checkRestic(ctx context.Context, r *restic.Repo) error {
	if err, ok := versions.Load(r.Bin); ok {
		e, _ := err.(error)
		return e
	}

	_, err := r.Version(ctx)
	if err == nil || fail.Is(err, fail.Unsupported) {
		versions.Store(r.Bin, err)
	}

	return err
}

// ensureRepository makes sure that every vault of the set has the shard's
// repository with the same master key. The first beginning (seed) that is
// stored under its create-only key is the one: processes that try at once
// agree, and one that dies between writes is finished by the next.
func (s *ShardVault) ensureRepository(ctx context.Context) error {
	if err := s.set.check(); err != nil {
		return err
	}

	r, err := s.Vault().repo(s.id)
	if err != nil {
		return err
	}

	if err := checkRestic(ctx, r); err != nil {
		return err
	}

	s.seeded.Lock()
	defer s.seeded.Unlock()

	if s.ready {
		return s.clearLocks(ctx, r)
	}

	seed, err := s.seed(ctx, r)
	if err != nil {
		return err
	}

	errs := s.each(ctx, func(ctx context.Context, v *Vault) error { return v.plant(ctx, s.id, seed) })
	if errs[0] != nil {
		return errs[0] // the backup goes there
	}

	if _, err := s.set.durable(ctx, seedKey(s.id), errs); err != nil {
		return err
	}
	s.ready = errors.Join(errs...) == nil

	return s.clearLocks(ctx, r)
}

// seed returns the set's one beginning of the repository, making it when no
// vault has one. Making needs every vault: one that cannot be asked might have its own.
func (s *ShardVault) seed(ctx context.Context, r *restic.Repo) ([]byte, error) {
	var seed []byte
	var owner *Vault

	var unreachable error
	for _, v := range s.set.Vaults {
		b, _, err := v.ReadEncrypted(ctx, seedKey(s.id))
		switch {
		case fail.Is(err, fail.NotFound):
		case fail.Is(err, fail.Unavailable), fail.Is(err, fail.Stalled):
			unreachable = err
		case err != nil:
			return nil, err
		case seed != nil && !bytes.Equal(seed, b):
			return nil, conflictingSeeds(s.id, owner, v)
		default:
			seed, owner = b, v
		}
	}

	if seed != nil {
		return seed, nil
	}

	if unreachable == nil && len(s.set.Away) > 0 {
		unreachable = fmt.Errorf("the vault of %s is out of reach", strings.Join(s.set.Away, " and "))
	}

	if unreachable != nil {
		return nil, fail.New(fail.Unavailable, "vault: first base", s.id.String(),
			"the first base of a shard needs every vault of its policy; "+awayHint, unreachable)
	}

	made, err := r.NewSeed(ctx)
	if err != nil {
		return nil, err
	}

	seed, err = json.Marshal(made)
	if err != nil {
		return nil, fail.New(fail.Internal, "vault: repository", s.id.String(), "", err)
	}
	// All processes decide in the same vault, whatever the order of their sets.
	first := s.set.Vaults[0]
	for _, v := range s.set.Vaults {
		if v.Region() < first.Region() {
			first = v
		}
	}

	if err := first.PutEncrypted(ctx, seedKey(s.id), nil, seed); fail.Is(err, fail.Conflict) {
		seed, _, err = first.ReadEncrypted(ctx, seedKey(s.id)) // another was faster
		return seed, err
	} else if err != nil {
		return nil, err
	}

	return seed, nil
}

func conflictingSeeds(id targets.ShardID, a, b *Vault) error {
	return fail.New(fail.Conflict, "vault: repository", id.String(),
		"keep the one that holds the bases you need; move the other's restic folder and its key under keys/restic away",
		fmt.Errorf("the vaults %s and %s hold different restic repositories of this shard", a, b))
}

// plant writes a repository's beginning into the vault.
func (v *Vault) plant(ctx context.Context, id targets.ShardID, seed []byte) error {
	var s restic.Seed

	err := json.Unmarshal(seed, &s)
	if err == nil && !targets.IsSHA256(s.KeyName) {
		err = fmt.Errorf("the key's name %.80q is not a SHA-256", s.KeyName)
	}

	if err != nil {
		return fail.New(fail.Corrupt, "vault: repository", v.store.URL()+"/"+seedKey(id), "", err)
	}

	if err = v.PutEncrypted(ctx, seedKey(id), nil, seed); fail.Is(err, fail.Conflict) {
		return fail.New(fail.Conflict, "vault: repository", v.String()+" "+id.String(),
			"another process made a different repository at the same moment; repeat", err)
	} else if err != nil {
		return err
	}

	for _, f := range []struct {
		key  string
		body []byte
	}{{"keys/" + s.KeyName, s.Key}, {"config", s.Config}} {
		key := ResticPrefix(id) + f.key

		err := v.store.Put(ctx, key, f.body)
		if fail.Is(err, fail.Conflict) {
			have, rerr := get(ctx, v.store, key)
			if rerr != nil {
				return rerr
			}

			if bytes.Equal(have, f.body) {
				continue
			}

			return fail.New(fail.Conflict, "vault: repository", v.store.URL()+"/"+key,
				"the repository does not match its beginning under keys/restic", err)
		}

		if err != nil {
			return err
		}
	}

	return nil
}

// clearLocks lets restic remove the locks of processes that are gone.
func (s *ShardVault) clearLocks(ctx context.Context, r *restic.Repo) error {
	for _, err := range s.Vault().store.List(ctx, ResticPrefix(s.id)+"locks/", "") {
		if err != nil {
			return err
		}

		return r.Unlock(ctx)
	}

	return nil
}
