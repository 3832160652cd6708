package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/targets"
)

const readsAtOnce = 16

// Cuts lists the sealed cuts of a group, oldest first. A damaged record does
// not hide the others: the good ones come with an error that names the bad.
func (v *Vault) Cuts(ctx context.Context, group string) ([]targets.Cut, error) {
	keys, err := v.keys(ctx, CutsPrefix(group), "", func(k string) bool { _, _, ok := ParseCutKey(k); return ok })
	if err != nil {
		return nil, err
	}

	return readRecords(ctx, v, keys, v.checkCut)
}

// Cut reads one cut.
func (v *Vault) Cut(ctx context.Context, group, id string) (targets.Cut, error) {
	return readRecord(ctx, v, CutKey(group, id), v.checkCut)
}

// Groups lists the groups that have cuts.
func (v *Vault) Groups(ctx context.Context) ([]string, error) {
	return v.store.Folders(ctx, cutsRoot)
}

func (v *Vault) checkCut(key string, c targets.Cut) error {
	if CutKey(c.Group, c.ID) != key {
		return fmt.Errorf("the record is of cut %.80q of group %.80q", c.ID, c.Group)
	}

	return c.Check(v.opt.Now())
}

// Bases lists the bases of a shard, oldest first by the time they finished; a
// base without a record does not exist. Damaged records as in Cuts.
func (v *Vault) Bases(ctx context.Context, shard targets.ShardID) ([]targets.Artifact, error) {
	keys, err := v.keys(ctx, BasesPrefix(shard), "", func(k string) bool { _, _, ok := ParseBaseRecordKey(k); return ok })
	if err != nil {
		return nil, err
	}
	all, err := readRecords(ctx, v, keys, v.checkBase)
	slices.SortStableFunc(all, func(a, b targets.Artifact) int { return a.Finished.Compare(b.Finished) })

	return all, err
}

// SnapshotsOf lists the restic snapshots that a base consists of: its own and
// those that its tablespaces name.
func SnapshotsOf(a targets.Artifact) []string {
	var ids []string
	if a.Snapshot != "" {
		ids = append(ids, a.Snapshot)
	}

	for _, where := range a.Tablespaces {
		for _, id := range snapshotRE.FindAllString(where, -1) {
			if len(id) == 64 && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}

	slices.Sort(ids[min(1, len(ids)):])

	return ids
}

var snapshotRE = regexp.MustCompile(`[0-9a-f]{64,}`)

// Base reads one base's record.
func (v *Vault) Base(ctx context.Context, shard targets.ShardID, id string) (targets.Artifact, error) {
	return readRecord(ctx, v, BaseRecordKey(shard, id), v.checkBase)
}

func (v *Vault) checkBase(key string, a targets.Artifact) error {
	if BaseRecordKey(a.Shard, a.ID) != key {
		return fmt.Errorf("the record is of base %.80q of shard %.80q", a.ID, a.Shard)
	}

	return a.Check(v.opt.Now())
}

// Shards lists the shards that the vault holds anything of.
func (v *Vault) Shards(ctx context.Context) ([]targets.ShardID, error) {
	seen := map[targets.ShardID]bool{}
	for _, root := range []string{streamsRoot, basesRoot, objectsRoot, resticRoot} {
		byTarget, err := v.store.Folders(ctx, root)
		if err != nil {
			return nil, err
		}

		for _, t := range byTarget {
			shards, err := v.store.Folders(ctx, root+t+"/")
			if err != nil {
				return nil, err
			}

			for _, s := range shards {
				if id, err := targets.ParseShardID(t + "/" + s); err == nil {
					seen[id] = true
				}
			}
		}
	}

	return slices.SortedFunc(maps.Keys(seen), targets.ShardID.Compare), nil
}

// keys lists the keys under prefix and after after ("" for all) that match.
func (v *Vault) keys(ctx context.Context, prefix, after string, match func(string) bool) ([]string, error) {
	var keys []string
	for i, err := range v.store.List(ctx, prefix, after) {
		if err != nil {
			return nil, err
		}

		if match(i.Key) {
			keys = append(keys, i.Key)
		}
	}

	return keys, nil
}

// readRecord reads an encrypted JSON value and checks that it is the one its key names.
func readRecord[T any](ctx context.Context, v *Vault, key string, check func(string, T) error) (T, error) {
	var x T

	b, _, err := v.ReadEncrypted(ctx, key)
	if err != nil {
		return x, err
	}

	if err = json.Unmarshal(b, &x); err == nil {
		err = check(key, x)
	}

	if err != nil {
		return x, fail.New(fail.Corrupt, "vault: record", v.store.URL()+"/"+key, "restore it from another region's vault", err)
	}

	return x, nil
}

// readRecords reads records in parallel, keeping the order of keys. What is
// gone since the listing is left out; what is bad is joined into the error.
func readRecords[T any](ctx context.Context, v *Vault, keys []string, check func(string, T) error) ([]T, error) {
	got := make([]*T, len(keys))
	var mu sync.Mutex
	var bad []error
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)

	for i, key := range keys {
		g.Go(func() error {
			x, err := readRecord(gctx, v, key, check)
			switch {
			case err == nil:
				got[i] = &x
			case fail.Is(err, fail.NotFound):
			case fail.Is(err, fail.Corrupt):
				mu.Lock()
				bad = append(bad, err)

				mu.Unlock()
			default:
				return err
			}

			return nil
		})
	}

	if err := g.Wait(); err != nil {
		bad = append([]error{err}, bad...) // first: its code is that of the whole
	}

	out := make([]T, 0, len(keys))
	for _, x := range got {
		if x != nil {
			out = append(out, *x)
		}
	}

	return out, errors.Join(bad...)
}

// SaveCut writes the record of a sealed cut: into the vaults of the regions in
// SealedIn, which must be as many as the policy asks for, or into all when it
// is empty.
func (s Set) SaveCut(ctx context.Context, c targets.Cut) (done int, err error) {
	key := CutKey(c.Group, c.ID)
	if err := c.Check(time.Now()); err != nil { // it could not be read again
		return 0, fail.New(fail.Invalid, "vault: save cut", c.ID, "", err)
	}

	if c.SealedAt.IsZero() {
		return 0, fail.New(fail.Invalid, "vault: save cut", c.ID, "only a sealed cut has a record", nil)
	}

	to := s
	if len(c.SealedIn) > 0 {
		to = Set{Durability: s.Need(), Away: s.Away}
		for _, v := range s.Vaults {
			if slices.Contains(c.SealedIn, v.Region()) {
				to.Vaults = append(to.Vaults, v)
			}
		}
	}

	if len(to.Vaults) < s.Need() {
		return 0, fail.Newf(fail.Invalid, "vault: save cut", c.ID, "sealed in %d of the %d vaults that the policy asks for", len(to.Vaults), s.Need())
	}

	return to.putRecord(ctx, key, c)
}

// ShareCuts writes the records of a group's cuts that were taken at since or
// later into the vaults that missed them. The holds function says whether a
// vault has everything that a cut needs; one that has not goes without the
// record. It returns how many were written; a vault that fails does not stop
// the others.
func (s Set) ShareCuts(ctx context.Context, group string, since time.Time, holds func(context.Context, *Vault, targets.Cut) (bool, error)) (written int, err error) {
	if err := s.check(); err != nil {
		return 0, err
	}
	after := CutsPrefix(group) + targets.IDTime(since)
	has := map[string][]bool{}
	listed := make([]bool, len(s.Vaults))

	var bad []error
	for i, v := range s.Vaults {
		keys, err := v.keys(ctx, CutsPrefix(group), after, func(k string) bool { _, _, ok := ParseCutKey(k); return ok })
		if err != nil {
			bad = append(bad, err)
			continue
		}

		listed[i] = true
		for _, k := range keys {
			if has[k] == nil {
				has[k] = make([]bool, len(s.Vaults))
			}
			has[k][i] = true
		}
	}

	for _, key := range slices.Sorted(maps.Keys(has)) {
		from := s.Vaults[slices.Index(has[key], true)]
		for i, to := range s.Vaults {
			if has[key][i] || !listed[i] {
				continue
			}

			wrote, err := shareCut(ctx, from, to, key, holds)
			if err != nil {
				bad = append(bad, err)
			} else if wrote {
				written++
			}

			if ctx.Err() != nil {
				return written, errors.Join(bad...)
			}
		}
	}

	return written, errors.Join(bad...)
}

func shareCut(ctx context.Context, from, to *Vault, key string, holds func(context.Context, *Vault, targets.Cut) (bool, error)) (bool, error) {
	cut, err := readRecord(ctx, from, key, from.checkCut)
	if err != nil {
		return false, err
	}

	if ok, err := holds(ctx, to, cut); !ok || err != nil {
		return false, err
	}

	if cut.Proof != nil { // its evidence comes first
		evidence, _, err := from.ReadEncrypted(ctx, EvidenceKey(cut.Group, cut.ID))
		if err == nil {
			err = to.PutEncrypted(ctx, EvidenceKey(cut.Group, cut.ID), nil, evidence)
		}

		if err != nil {
			return false, err
		}
	}

	_, err = Set{Vaults: []*Vault{to}}.putRecord(ctx, key, cut)

	return true, err
}

// SaveBase writes the record of a base: into every vault that holds all of it.
// A vault that lacks something is mirrored to first.
func (s Set) SaveBase(ctx context.Context, a targets.Artifact) (done int, err error) {
	if err := s.check(); err != nil {
		return 0, err
	}

	key := BaseRecordKey(a.Shard, a.ID)
	if err := a.Check(time.Now()); err != nil { // it could not be read again
		return 0, fail.New(fail.Invalid, "vault: save base", key, "", err)
	}

	body, err := marshalRecord(a)
	if err != nil {
		return 0, err
	}

	encrypted, err := s.Vaults[0].Encrypt(key, nil, body)
	if err != nil {
		return 0, err
	}
	// No limit for stragglers: what a vault lacks is copied to it.
	return s.durable(ctx, key, Set{Vaults: s.Vaults}.Each(ctx, func(ctx context.Context, v *Vault) error {
		if err := s.Shard(a.Shard).holdsBase(ctx, v, a); err != nil {
			return err
		}

		return v.putOrSame(ctx, key, nil, body, encrypted)
	}))
}

// SaveReport writes a report (a JSON value) into every vault.
func (s Set) SaveReport(ctx context.Context, kind, id string, report any) (done int, err error) {
	return s.putRecord(ctx, ReportKey(kind, id), report)
}

// Report reads a report into out.
func (v *Vault) Report(ctx context.Context, kind, id string, out any) error {
	key := ReportKey(kind, id)

	b, _, err := v.ReadEncrypted(ctx, key)
	if err != nil {
		return err
	}

	if err := json.Unmarshal(b, out); err != nil {
		return fail.New(fail.Corrupt, "vault: report", v.store.URL()+"/"+key, "", err)
	}

	return nil
}

// Reports lists the ids of the reports of a kind, in bytewise order.
func (v *Vault) Reports(ctx context.Context, kind string) ([]string, error) {
	return v.ReportsAfter(ctx, kind, "")
}

// ReportsAfter lists those whose ids are greater than the id after.
func (v *Vault) ReportsAfter(ctx context.Context, kind, after string) ([]string, error) {
	prefix, suffix := ReportsPrefix(kind), ".json"+encryptedSuffix

	from := ""
	if after != "" {
		from = ReportKey(kind, after)
	}
	keys, err := v.keys(ctx, prefix, from, func(k string) bool { return isEncrypted(k) })

	var ids []string
	for _, k := range keys {
		// Ids become names of files; what others put there does not.
		if id, ok := strings.CutSuffix(k[len(prefix):], suffix); ok && ValidName(id) == nil {
			ids = append(ids, id)
		}
	}

	return ids, err
}

func (s Set) putRecord(ctx context.Context, key string, x any) (int, error) {
	body, err := marshalRecord(x)
	if err != nil {
		return 0, err
	}

	if len(body) > maxRecord { // it could not be read again
		return 0, fail.Newf(fail.Invalid, "vault: write", key, "%d bytes are over the limit of %d MiB for a record", len(body), maxRecord>>20)
	}

	return s.PutEncrypted(ctx, key, nil, body)
}

func marshalRecord(x any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")

	if err := e.Encode(x); err != nil {
		return nil, fail.New(fail.Internal, "vault: record", "", "", err)
	}

	return b.Bytes(), nil
}
