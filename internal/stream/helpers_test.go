package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

func contains(s, sub string) bool { return strings.Contains(s, sub) }

var shard = targets.ShardID{Target: "carts", Shard: "0"}

// testSet makes vaults in directories and returns the directories as well.
func testSet(t testing.TB, n, durability int) (vault.Set, []string) {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	s := vault.Set{Durability: durability}
	var dirs []string

	set := ""
	for i := range n {
		dir := filepath.Join(t.TempDir(), "vault")

		v, err := vault.Init(context.Background(), vault.Options{Region: []string{"east", "west", "north"}[i],
			Location: vault.Location{URL: "file://" + dir}, Key: key, Set: set})
		if err != nil {
			t.Fatal(err)
		}
		set = v.SetID()
		s.Vaults = append(s.Vaults, v)
		dirs = append(dirs, dir)
	}

	return s, dirs
}

// faulty puts faults in front of a store.
type faulty struct {
	vault.Store
	mu  sync.Mutex
	put func(key string) (delay time.Duration, before, after error)
	off bool // unreachable
}

var errFault = errors.New("planted fault")

func (f *faulty) down(off bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = off
}

func (f *faulty) isOff() error {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.off {
		return fail.New(fail.Unavailable, "test", "store", "", errFault)
	}

	return nil
}

func (f *faulty) Put(ctx context.Context, key string, body []byte) error {
	if err := f.isOff(); err != nil {
		return err
	}

	f.mu.Lock()
	put := f.put
	f.mu.Unlock()

	if put == nil {
		return f.Store.Put(ctx, key, body)
	}

	delay, before, after := put(key)
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return ctx.Err()
	}

	if before != nil {
		return fail.New(fail.Unavailable, "test", key, "", before)
	}

	if err := f.Store.Put(ctx, key, body); err != nil {
		return err
	}

	if after != nil { // stored, but the answer was lost
		return fail.New(fail.Unavailable, "test", key, "", after)
	}

	return nil
}

func (f *faulty) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := f.isOff(); err != nil {
		return nil, err
	}

	return f.Store.Get(ctx, key)
}

func (f *faulty) List(ctx context.Context, prefix, after string) iter.Seq2[vault.Info, error] {
	if err := f.isOff(); err != nil {
		return func(yield func(vault.Info, error) bool) { yield(vault.Info{}, err) }
	}

	return f.Store.List(ctx, prefix, after)
}

// faults makes one faulty store per vault.
func faults(s vault.Set) ([]*faulty, func(*vault.Vault) vault.Store) {
	var fs []*faulty
	for _, v := range s.Vaults {
		fs = append(fs, &faulty{Store: v.Store()})
	}

	return fs, func(v *vault.Vault) vault.Store {
		for i, o := range s.Vaults {
			if o == v {
				return fs[i]
			}
		}

		panic("unknown vault")
	}
}

// source is a fake sender: a stream of which byte i depends on i alone, kept
// from what was acknowledged on.
type source struct {
	timeline string
	acked    uint64
}

func streamBytes(timeline string, from, to uint64) []byte {
	b := make([]byte, 0, to-from+8)
	for w := from / 8; w*8 < to; w++ {
		x := w*0x9E3779B97F4A7C15 + uint64(len(timeline))
		x ^= x >> 29
		x *= 0xBF58476D1CE4E5B9
		x ^= x >> 32
		b = fmt.Appendf(b, "%08x", uint32(x))
	}

	return b[from%8:][:to-from]
}

func readAll(t testing.TB, v *vault.Vault, span targets.Span) []byte {
	t.Helper()

	r, err := NewReader(v, shard).Log(context.Background(), span)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}

	return b
}

func mustEqual(t testing.TB, v *vault.Vault, timeline string, from, to uint64) {
	t.Helper()

	got := readAll(t, v, targets.Span{Timeline: timeline, From: from, To: to})
	if !bytes.Equal(got, streamBytes(timeline, from, to)) {
		t.Fatalf("vault %s: timeline %s [%d,%d) is not what was sent", v.Region(), timeline, from, to)
	}
}

func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()

	for end := time.Now().Add(2 * time.Minute); !cond(); {
		if time.Now().After(end) {
			t.Fatal("timed out: " + what)
		}

		time.Sleep(5 * time.Millisecond)
	}
}

func seeded(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DRCTL_SEED"); s != "" {
		fmt.Sscan(s, &seed)
	}

	t.Logf("DRCTL_SEED=%d", seed)

	return rand.New(rand.NewPCG(seed, 1))
}
