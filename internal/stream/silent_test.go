package stream

import (
	"context"
	"iter"
	"testing"
	"time"

	"drctl/internal/vault"
	"drctl/targets"
)

// silent is a store that accepts a question and never answers.
type silent struct{ vault.Store }

func (silent) List(ctx context.Context, _, _ string) iter.Seq2[vault.Info, error] {
	return func(yield func(vault.Info, error) bool) {
		<-ctx.Done()
		yield(vault.Info{}, ctx.Err())
	}
}

// A vault that has gone silent keeps nobody from hearing that enough others
// hold a position, whether they do already or will soon.
func TestASilentVaultHoldsUpNoOther(t *testing.T) {
	set, _ := testSet(t, 3, 3)
	a := start(t, Options{Set: set, ChunkSize: 100})
	must(t, a.Begin(ctx, "L", 0, targets.Position{}, nil))
	must(t, a.Write(ctx, 0, streamBytes("L", 0, 300)))

	wait := func(offset uint64) (map[string]string, time.Duration) {
		t.Helper()
		set := set
		set.Durability = 2

		ws := make([]*watch, 3)
		for i, v := range set.Vaults {
			ws[i] = &watch{trail: given(v, shard, pos("L", 0)), at: pos("L", offset)}
		}
		ws[0].trail.st = silent{ws[0].trail.st}
		begin := time.Now()
		in, err := await(withTimeout(t, 2*time.Minute), set, ws, 10*time.Millisecond, nil)
		must(t, err)

		return in, time.Since(begin)
	}
	go func() {
		time.Sleep(300 * time.Millisecond)
		_ = a.Write(ctx, 300, streamBytes("L", 300, 600))
	}()

	for _, offset := range []uint64{100, 500} {
		in, took := wait(offset)
		if len(in) != 2 || in[set.Vaults[0].Region()] != "" || took > time.Minute {
			t.Errorf("up to %d: in %v after %s", offset, in, took)
		}
	}

	must(t, a.Close(ctx))
}
