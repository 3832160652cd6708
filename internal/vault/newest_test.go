package vault

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// counted counts the keys that listings yield and the objects that are read.
type counted struct {
	Store
	listed, read *int
}

func (c counted) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for i, err := range c.Store.List(ctx, prefix, after) {
			*c.listed++

			if !yield(i, err) {
				return
			}
		}
	}
}

func (c counted) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	*c.read++
	return c.Store.Get(ctx, key)
}

// The newest cut is found by its name, however many are kept, and past damaged
// records, which are named.
func TestCutsNewest(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	now := time.Now().UTC()

	var ids []string
	for i := range 1500 {
		at := now.Add(-time.Duration(1500-i) * time.Minute)
		id := targets.IDTime(at) + fmt.Sprintf("-%04x", i)
		ids = append(ids, id)

		body, err := marshalRecord(targets.Cut{ID: id, Group: "shop", QuiescedAt: at, SealedAt: at})
		if err != nil {
			t.Fatal(err)
		}

		if err := v.PutEncrypted(ctx, CutKey("shop", id), nil, body); err != nil {
			t.Fatal(err)
		}
	}

	slices.Reverse(ids)
	var listed, read int
	v.store = counted{v.store, &listed, &read}

	newest := func(n int) (got []string, bad []error) {
		listed, read = 0, 0

		for c, err := range v.CutsNewest(ctx, "shop") {
			if err != nil {
				bad = append(bad, err)
			} else if got = append(got, c.ID); len(got) == n {
				break
			}
		}

		return got, bad
	}
	if got, bad := newest(1); !slices.Equal(got, ids[:1]) || bad != nil || listed > 20 || read != 1 {
		t.Fatalf("%q %v, %d keys listed, %d objects read", got, bad, listed, read)
	}

	if got, bad := newest(30); !slices.Equal(got, ids[:30]) || bad != nil || listed > 100 || read != 30 {
		t.Fatalf("%q %v, %d keys listed, %d objects read", got, bad, listed, read)
	}

	if got, bad := newest(0); !slices.Equal(got, ids) || bad != nil || listed > len(ids)+20 {
		t.Fatalf("%d cuts, %v, %d keys listed", len(got), bad, listed)
	}

	for _, id := range ids[:2] {
		if err := v.store.Delete(ctx, CutKey("shop", id)); err != nil {
			t.Fatal(err)
		}

		if err := v.store.Put(ctx, CutKey("shop", id), []byte("damaged")); err != nil {
			t.Fatal(err)
		}
	}

	got, bad := newest(1)
	if !slices.Equal(got, ids[2:3]) || len(bad) != 2 || !fail.Is(bad[0], fail.Corrupt) || !strings.Contains(bad[0].Error(), ids[0]) {
		t.Fatalf("%q %v", got, bad)
	}
	// Nothing for a while: what is old is found in a few steps.
	v.opt.Now = func() time.Time { return now.Add(40 * 24 * time.Hour) }

	if got, _ := newest(1); !slices.Equal(got, ids[2:3]) || read != 3 {
		t.Fatalf("%q, %d objects read", got, read)
	}

	if got, bad := newest(0); len(got) != len(ids)-2 || len(bad) != 2 {
		t.Fatalf("%d cuts, %v", len(got), bad)
	}

	for c, err := range v.CutsNewest(ctx, "none") {
		t.Fatalf("%+v %v", c, err)
	}
}

func testFolders(t *testing.T, s Store) {
	ctx := context.Background()
	for _, k := range []string{"f/a/1", "f/a/2", "f/a-b/1", "f/a0/x/y", "f/z/1", "f/file", "g/a/1"} {
		if err := s.Put(ctx, k, nil); err != nil {
			t.Fatal(err)
		}
	}

	if got := must(s.Folders(ctx, "f/")); !slices.Equal(got, []string{"a", "a-b", "a0", "z"}) {
		t.Errorf("%q", got)
	}

	if got := must(s.Folders(ctx, "none/")); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func TestLastOfAFolder(t *testing.T) {
	ctx := context.Background()
	s := &fileStore{root: t.TempDir()}

	var all []string
	for i := range 50 {
		all = append(all, fmt.Sprintf("d/%03d", i*7%50))
		if err := s.Put(ctx, all[i], nil); err != nil {
			t.Fatal(err)
		}
	}

	if err := s.Put(ctx, "d/zzz/x", nil); err != nil {
		t.Fatal(err)
	}

	slices.Sort(all)

	for _, n := range []int{1, 3, 50, 100} {
		for _, end := range []int{0, 1, 20, 50} {
			before := "d/zzzz"
			if end < 50 {
				before = all[end]
			}

			if got := must(s.Last(ctx, "d/", before, n)); !slices.Equal(got, all[max(0, end-n):end]) {
				t.Errorf("last %d before %s: %q", n, before, got)
			}
		}
	}

	if got := must(s.Last(ctx, "none/", "none/z", 3)); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
