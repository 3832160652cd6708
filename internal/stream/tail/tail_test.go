package tail_test

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/stream"
	"drctl/internal/stream/tail"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

var shard = targets.ShardID{Target: "orders", Shard: "0"}

func vaults(t *testing.T) vault.Set {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	out := vault.Set{Durability: 2}
	id := ""

	for _, region := range []string{"west", "east"} {
		v, err := vault.Init(t.Context(), vault.Options{Region: region, Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), region)}, Key: key, Set: id})
		if err != nil {
			t.Fatal(err)
		}
		id = v.SetID()
		out.Vaults = append(out.Vaults, v)
	}

	return out
}

func bytesOf(from, to uint64) []byte {
	out := make([]byte, to-from)
	for i := range out {
		out[i] = byte((from + uint64(i)) * 31)
	}

	return out
}

// archive writes what an archiver had: the old timeline up to 1000, in one vault only up
// to 700, and the new one that left it at 600.
func archive(t *testing.T, set vault.Set) {
	t.Helper()

	write := func(set vault.Set, id string, from, to uint64, parent targets.Position) {
		a, err := stream.NewArchiver(t.Context(), stream.Options{Set: set, Shard: shard, Kind: targets.Postgres})
		if err == nil {
			err = a.Begin(t.Context(), id, from, parent, nil)
		}

		if err == nil {
			err = a.Write(t.Context(), from, bytesOf(from, to))
		}

		if err == nil {
			err = a.Close(t.Context())
		}

		if err != nil {
			t.Fatal(err)
		}
	}
	one := vault.Set{Vaults: set.Vaults[:1], Durability: 1}
	write(set, "old", 0, 700, targets.Position{})
	write(one, "old", 700, 1000, targets.Position{})
	write(one, "new", 600, 800, targets.Position{Kind: targets.Postgres, Timeline: "old", Offset: 600})
}

func newest(t *testing.T, v *vault.Vault) string {
	t.Helper()

	ls, err := stream.Load(t.Context(), v, shard)
	if err != nil {
		t.Fatal(err)
	}
	l, _ := timeline.Newest(ls)

	return l.ID
}

// The end of a log that nobody archived is kept where something of it is missing, can
// be read back whole, and does not become the newest log again.
func TestTheEndOfALeftTimelineIsKeptAndStaysLeft(t *testing.T) {
	set := vaults(t)
	archive(t, set)
	k := tail.Keeper{Set: set, Shard: shard}
	part := targets.Span{Timeline: "old", From: 600, To: 1500}

	if at, err := k.Lacks(t.Context(), part); err != nil || at != 700 {
		t.Fatalf("lacks from %d, %v", at, err)
	}
	part.From = 700

	for range 2 { // it may be repeated
		if err := k.Keep(t.Context(), part, bytes.NewReader(bytesOf(700, 1500))); err != nil {
			t.Fatal(err)
		}
	}

	for _, v := range set.Vaults {
		r, err := stream.NewReader(v, shard).Log(t.Context(), targets.Span{Timeline: "old", From: 0, To: 1500})
		if err != nil {
			t.Fatal(err)
		}

		if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, bytesOf(0, 1500)) {
			t.Errorf("%s: %d bytes, %v", v.Region(), len(b), err)
		}
		_ = r.Close()
	}

	if got := newest(t, set.Vaults[0]); got != "new" {
		t.Errorf("the newest log is %s", got)
	}
}

// A timeline of which nothing was archived is older than all that was.
func TestATimelineThatIsNewToAVaultIsNotItsNewest(t *testing.T) {
	set := vaults(t)
	archive(t, set)

	if err := (tail.Keeper{Set: set, Shard: shard}).Keep(t.Context(), targets.Span{Timeline: "other", From: 50, To: 90}, bytes.NewReader(bytesOf(50, 90))); err != nil {
		t.Fatal(err)
	}

	if got := newest(t, set.Vaults[0]); got != "new" {
		t.Errorf("the newest log is %s", got)
	}
}

// A source that ends too early is an error, and so is a set without vaults.
func TestWhatCannotBeKeptIsAnError(t *testing.T) {
	set := vaults(t)
	part := targets.Span{Timeline: "old", From: 0, To: 100}

	if err := (tail.Keeper{Set: set, Shard: shard}).Keep(t.Context(), part, bytes.NewReader(bytesOf(0, 99))); err == nil {
		t.Error("99 of 100 bytes were kept")
	}

	if err := (tail.Keeper{Shard: shard}).Keep(context.Background(), part, bytes.NewReader(bytesOf(0, 100))); !fail.Is(err, fail.Unavailable) {
		t.Errorf("kept nowhere: %v", err)
	}
}
