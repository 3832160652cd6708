package vault

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// How object data is deleted while snapshots run, which take no lock.
//
// A retention does not delete what no manifest names: it condemns it, in a
// list, and a later one executes the list. A snapshot that begins after the list
// is written sees it, and does not rely on a condemned object before it has
// spared the list. Sparing and executing are one decision, made once: the first
// of the two to create its key wins. A snapshot that began before the list is
// over, with its manifest stored or without, when the list may be executed, and
// the execution leaves what a manifest names by then.

const (
	// snapshotLimit is how old a door may be when it stores a manifest.
	snapshotLimit = 24 * time.Hour
	// condemnedFor is how old a list must be to be executed: longer than any
	// snapshot that has not seen it, and an hour for what clocks differ.
	condemnedFor = snapshotLimit + time.Hour
	// decisionsKept is how long a decision stays after its list has gone, for
	// those that have still seen the list.
	decisionsKept = 7 * 24 * time.Hour
	// condemnAtOnce bounds one list, at 32 bytes each.
	condemnAtOnce = 1 << 19

	spared   = "spared"
	executed = "executed"
)

// condemned is one list.
type condemned struct {
	key    string
	made   time.Time
	hashes []hash32 // sorted

	mu     sync.Mutex
	spared bool
}

func (c *condemned) holds(h hash32) bool {
	_, ok := slices.BinarySearchFunc(c.hashes, h, func(a, b hash32) int { return bytes.Compare(a[:], b[:]) })
	return ok
}

// spare makes sure that nothing of the list will be deleted because of it.
func (c *condemned) spare(ctx context.Context, v *Vault) error {
	c.mu.Lock()
	defer c.mu.Unlock()

	if c.spared {
		return nil
	}

	word, err := v.decide(ctx, c.key, spared)
	if err == nil && word != spared {
		err = fail.Newf(fail.Unavailable, "vault: keep object", v.store.URL()+"/"+c.key, "retention is deleting it; it can be stored again when that has ended")
	}
	c.spared = err == nil

	return err
}

// decide makes a list's one decision, or returns the one that was made before.
func (v *Vault) decide(ctx context.Context, list, word string) (string, error) {
	key := decisionKey(list)

	encrypted, err := v.Encrypt(key, nil, []byte(word))
	if err != nil {
		return "", err
	}

	err = v.store.Put(ctx, key, encrypted)
	if err == nil {
		return word, nil
	}

	if !fail.Is(err, fail.Conflict) {
		return "", err
	}
	b, _, err := v.ReadEncrypted(ctx, key)

	return string(b), err
}

// condemn writes a list.
func (v *Vault) condemn(ctx context.Context, id targets.ShardID, hashes []hash32) error {
	body := make([]byte, 0, 32*len(hashes))
	for _, h := range hashes {
		body = append(body, h[:]...)
	}

	return v.PutEncrypted(ctx, condemnedKey(id, v.opt.Now()), nil, body)
}

// condemned reads the lists that have not been executed to their end, oldest
// first, and the keys of the decisions without a list.
func (v *Vault) condemned(ctx context.Context, id targets.ShardID) (lists []*condemned, decided []string, err error) {
	for i, err := range v.store.List(ctx, condemnedPrefix(id), "") {
		if err != nil {
			return nil, nil, err
		}

		if made, ok := parseCondemnedKey(i.Key); ok {
			lists = append(lists, &condemned{key: i.Key, made: made})
		} else if strings.HasSuffix(i.Key, decisionSuffix) {
			decided = append(decided, i.Key)
		}
	}
	lists = slices.DeleteFunc(lists, func(c *condemned) bool {
		if err != nil {
			return true
		}

		var b []byte
		if b, _, err = v.ReadEncrypted(ctx, c.key); fail.Is(err, fail.NotFound) {
			err = nil // executed meanwhile
			return true
		}

		for ; len(b) >= 32; b = b[32:] {
			c.hashes = append(c.hashes, hash32(b[:32]))
		}

		return false
	})
	decided = slices.DeleteFunc(decided, func(d string) bool {
		return slices.ContainsFunc(lists, func(c *condemned) bool { return decisionKey(c.key) == d })
	})

	return lists, decided, err
}

// doomed is what a door knows of the lists of its vaults.
type doomed struct {
	mu    sync.Mutex
	since time.Time // when the first was read
	lists map[*Vault][]*condemned
}

func (d *doomed) of(ctx context.Context, v *Vault, id targets.ShardID) ([]*condemned, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	if lists, ok := d.lists[v]; ok {
		return lists, nil
	}

	if d.since.IsZero() {
		d.since = time.Now()
	}

	lists, _, err := v.condemned(ctx, id)
	if err != nil {
		return nil, err
	}

	if d.lists == nil {
		d.lists = map[*Vault][]*condemned{}
	}
	d.lists[v] = lists

	return lists, nil
}

// expired reports whether a list may have been executed that the door has not seen.
func (d *doomed) expired() bool {
	d.mu.Lock()
	defer d.mu.Unlock()

	return !d.since.IsZero() && time.Since(d.since) > snapshotLimit
}

// holds reports whether a vault has the object and will keep it until this
// door's manifest is stored.
func (s *ShardVault) holds(ctx context.Context, v *Vault, sha string) (bool, error) {
	lists, err := s.doomed.of(ctx, v, s.id) // before the question, see above
	if err != nil {
		return false, err
	}

	ok, err := s.objects.has(ctx, v, s.id, sha)
	if err != nil || !ok {
		return false, err
	}

	h, _ := objectHash(ObjectKey(s.id, sha))
	for _, c := range lists {
		if c.holds(h) {
			if err := c.spare(ctx, v); err != nil {
				return false, err
			}
		}
	}

	return true, nil
}
