package vault

import (
	"context"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

const (
	askFirst     = 64               // questions answered one by one
	indexTTL     = 10 * time.Minute // how long a listing is believed
	indexEntries = 4 << 20          // hashes remembered, 32 bytes each
)

type hash32 = [32]byte

// objectIndex remembers which objects each vault holds, one folder at a time.
type objectIndex struct {
	mu      sync.Mutex
	asked   int
	entries int
	folders map[folderID]*folder
}

type folderID struct {
	v  *Vault
	id byte
}

type folder struct {
	once   sync.Mutex
	read   time.Time
	hashes []hash32 // sorted
	added  map[hash32]bool
}

func (x *objectIndex) has(ctx context.Context, v *Vault, id targets.ShardID, sha string) (bool, error) {
	var h hash32
	if _, err := hex.Decode(h[:], []byte(sha)); err != nil {
		return false, fail.New(fail.Invalid, "vault: object", sha, "", err)
	}

	x.mu.Lock()

	x.asked++
	if x.asked <= askFirst {
		x.mu.Unlock()

		_, err := v.store.Stat(ctx, ObjectKey(id, sha))
		if fail.Is(err, fail.NotFound) {
			return false, nil
		}

		return err == nil, err
	}

	if x.folders == nil {
		x.folders = map[folderID]*folder{}
	}

	f := x.folders[folderID{v, h[0]}]
	if f == nil {
		f = &folder{added: map[hash32]bool{}}
		x.folders[folderID{v, h[0]}] = f
	}

	x.mu.Unlock()

	f.once.Lock()
	defer f.once.Unlock()

	if time.Since(f.read) > indexTTL {
		if err := x.load(ctx, f, v, id, sha[:2]); err != nil {
			return false, err
		}
	}
	_, ok := slices.BinarySearchFunc(f.hashes, h, func(a, b hash32) int { return slices.Compare(a[:], b[:]) })

	return ok || f.added[h], nil
}

// load lists a folder; the caller holds its lock.
func (x *objectIndex) load(ctx context.Context, f *folder, v *Vault, id targets.ShardID, two string) error {
	var hashes []hash32
	for i, err := range v.store.List(ctx, ObjectsPrefix(id)+two+"/", "") {
		if err != nil {
			return err
		}

		if _, sha, ok := ParseObjectKey(i.Key); ok {
			var h hash32
			_, _ = hex.Decode(h[:], []byte(sha))
			hashes = append(hashes, h)
		}
	}

	x.mu.Lock()
	defer x.mu.Unlock()
	x.entries += len(hashes) - len(f.hashes)

	f.hashes, f.added, f.read = hashes, map[hash32]bool{}, time.Now()
	for k, other := range x.folders {
		if x.entries <= indexEntries {
			break
		}

		if other != f && other.once.TryLock() {
			x.entries -= len(other.hashes)
			delete(x.folders, k)
			other.once.Unlock()
		}
	}

	return nil
}

// add remembers that the vaults hold the object.
func (x *objectIndex) add(vaults []*Vault, sha string) {
	var h hash32

	_, _ = hex.Decode(h[:], []byte(sha))
	for _, v := range vaults {
		x.mu.Lock()
		f := x.folders[folderID{v, h[0]}]
		x.mu.Unlock()

		if f != nil {
			f.once.Lock()
			f.added[h] = true
			f.once.Unlock()
		}
	}
}

// manifestIndex remembers where a shard's manifests are.
type manifestIndex struct {
	mu   sync.Mutex
	keys map[string]string // SHA-256 to key
}

func (x *manifestIndex) find(ctx context.Context, v *Vault, id targets.ShardID, sha string) (string, error) {
	x.mu.Lock()
	defer x.mu.Unlock()

	if key, ok := x.keys[sha]; ok {
		return key, nil
	}

	x.keys = map[string]string{}
	for i, err := range v.store.List(ctx, ManifestsPrefix(id), "") {
		if err != nil {
			return "", err
		}

		if _, _, s, ok := ParseManifestKey(i.Key); ok {
			x.keys[s] = i.Key
		}
	}

	if key, ok := x.keys[sha]; ok {
		return key, nil
	}

	return "", fail.Newf(fail.NotFound, "vault: manifest", v.String()+" "+id.String(), "no manifest with SHA-256 %s", sha)
}
