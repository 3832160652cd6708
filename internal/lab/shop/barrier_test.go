package shop

import (
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/barrier"
	"drctl/targets"
	"drctl/targets/postgres"
)

// Cuts stall the shop and fail nothing, in both modes and both styles.
func TestBarrierFailsNoOperation(t *testing.T) {
	p := platform(t)
	for _, mode := range []targets.BarrierMode{targets.Gate, targets.Share} {
		o := options(p, filepath.Join(t.TempDir(), "journal"))
		o.Gate, o.Duration = mode == targets.Gate, 4*time.Second

		done := make(chan Summary)
		go func() { done <- quiet(t, o) }()

		var parties []barrier.Party
		for _, in := range p.Postgres {
			in.Tables = []string{"public.accounts", "public.orders", "public.product_images", "public.stock", "public.transfers"}
			parties = append(parties, barrier.Party{Quiescer: postgres.New(postgres.Options{}), Instance: in})
		}

		time.Sleep(500 * time.Millisecond)

		cuts := 0
		for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			cut, err := barrier.Take(t.Context(), parties, barrier.Options{Group: p.Group, Mode: mode, Gate: p.Postgres[p.Gate].Shard,
				Lease: time.Minute, Budget: 20 * time.Second, LockTimeout: 200 * time.Millisecond, Patience: 2 * time.Minute})
			if err != nil {
				t.Error(err)
				continue
			}

			cuts++

			t.Logf("%s: attempts %d, stall %s", mode, cut.Attempts, cut.Stall)
		}
		sum := <-done
		t.Logf("%s: %d cuts, p50 %s p99 %s max %s, %d acknowledged", mode, cuts, sum.P50, sum.P99, sum.Max, sum.Acked)
	}
}
