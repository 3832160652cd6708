package answer

import (
	"slices"
	"time"

	"drctl/internal/moment/window"
	"drctl/restore/inventory"
	"drctl/targets"
)

// CutWindow is the answer of cut list --window.
type CutWindow struct {
	Vault string `json:"vault"` // region
	window.Window
}

// CutList is the answer of cut list.
type CutList struct {
	Vault string        `json:"vault"` // region
	Cuts  []targets.Cut `json:"cuts"`
	// Abandoned is there with --all, Stats with --stats.
	Abandoned []inventory.AbandonedCut `json:"abandoned,omitzero"`
	Stats     *Barrier                 `json:"stats,omitempty"`
}

// Barrier has percentiles of the timings of the barrier over cuts.
type Barrier struct {
	Cuts        int           `json:"cuts"`
	AttemptsMax int           `json:"attempts_max"`
	StallP50    time.Duration `json:"stall_p50_ns"`
	StallP90    time.Duration `json:"stall_p90_ns"`
	StallP99    time.Duration `json:"stall_p99_ns"`
	StallMax    time.Duration `json:"stall_max_ns"`
	GateP50     time.Duration `json:"gate_p50_ns"`
	LockP50     time.Duration `json:"lock_p50_ns"`
	HoldP50     time.Duration `json:"hold_p50_ns"`
	SealP50     time.Duration `json:"seal_p50_ns"`
	SealP99     time.Duration `json:"seal_p99_ns"`
}

// BarrierOf computes them.
func BarrierOf(cuts []targets.Cut) Barrier {
	var stall, gate, lock, hold, seal []time.Duration

	f := Barrier{Cuts: len(cuts)}
	for _, c := range cuts {
		stall = append(stall, c.Stall)
		seal = append(seal, c.SealedAt.Sub(c.QuiescedAt))

		f.AttemptsMax = max(f.AttemptsMax, c.Attempts)
		for _, p := range c.Shards {
			if p.Kind.Traits().Locks {
				gate, lock, hold = append(gate, p.Timings.Gate), append(lock, p.Timings.Lock), append(hold, p.Timings.Hold)
			}
		}
	}
	f.StallP50, f.StallP90, f.StallP99, f.StallMax = percentile(stall, 50), percentile(stall, 90), percentile(stall, 99), percentile(stall, 100)
	f.GateP50, f.LockP50, f.HoldP50 = percentile(gate, 50), percentile(lock, 50), percentile(hold, 50)
	f.SealP50, f.SealP99 = percentile(seal, 50), percentile(seal, 99)

	return f
}

// percentile is the nearest-rank percentile.
func percentile(d []time.Duration, p int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(d))

	return s[max(0, (len(s)*p+99)/100-1)]
}
