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
	Stats     *CutStats                `json:"stats,omitempty"`
}

// CutStats has percentiles over cuts of what they cost and took.
type CutStats struct {
	Cuts        int `json:"cuts"`
	AttemptsMax int `json:"attempts_max"`
	// Stall is how long writers can have waited: behind a gate, or for table locks. Those
	// of a cut that is read out of the logs alone never wait.
	StallP50 time.Duration `json:"stall_p50_ns"`
	StallP90 time.Duration `json:"stall_p90_ns"`
	StallP99 time.Duration `json:"stall_p99_ns"`
	StallMax time.Duration `json:"stall_max_ns"`
	// Gate, Lock and Hold are of the cuts that were taken at a barrier.
	GateP50 time.Duration `json:"gate_p50_ns"`
	LockP50 time.Duration `json:"lock_p50_ns"`
	HoldP50 time.Duration `json:"hold_p50_ns"`
	// Seal is from the instant of a cut until it was sealed.
	SealP50 time.Duration `json:"seal_p50_ns"`
	SealP99 time.Duration `json:"seal_p99_ns"`
	// Whole is from when a cut was asked for until it was sealed, over the cuts that say so,
	// and Steps are what that was made of.
	WholeP50 time.Duration `json:"whole_p50_ns"`
	WholeP90 time.Duration `json:"whole_p90_ns"`
	WholeMax time.Duration `json:"whole_max_ns"`
	Steps    []StepStats   `json:"steps"`
}

// StepStats has percentiles of one step over the cuts that took it.
type StepStats struct {
	Step string        `json:"step"`
	Cuts int           `json:"cuts"`
	P50  time.Duration `json:"p50_ns"`
	P90  time.Duration `json:"p90_ns"`
	Max  time.Duration `json:"max_ns"`
}

// StatsOf computes them.
func StatsOf(cuts []targets.Cut) CutStats {
	var stall, gate, lock, hold, seal, whole []time.Duration

	f, steps := CutStats{Cuts: len(cuts), Steps: []StepStats{}}, map[string][]time.Duration{}
	for _, c := range cuts {
		stall = append(stall, c.Stall)
		seal = append(seal, c.SealedAt.Sub(c.QuiescedAt))

		if !c.AskedAt.IsZero() {
			whole = append(whole, c.SealedAt.Sub(c.AskedAt))
		}

		for _, s := range c.Steps {
			if steps[s.Name] == nil {
				f.Steps = append(f.Steps, StepStats{Step: s.Name})
			}
			steps[s.Name] = append(steps[s.Name], s.Took)
		}

		f.AttemptsMax = max(f.AttemptsMax, c.Attempts)
		for _, p := range c.Shards {
			if p.Kind.Traits().Locks && c.Proof == nil {
				gate, lock, hold = append(gate, p.Timings.Gate), append(lock, p.Timings.Lock), append(hold, p.Timings.Hold)
			}
		}
	}

	for i := range f.Steps {
		s := &f.Steps[i]
		took := steps[s.Step]
		s.Cuts, s.P50, s.P90, s.Max = len(took), percentile(took, 50), percentile(took, 90), percentile(took, 100)
	}

	f.StallP50, f.StallP90, f.StallP99, f.StallMax = percentile(stall, 50), percentile(stall, 90), percentile(stall, 99), percentile(stall, 100)
	f.GateP50, f.LockP50, f.HoldP50 = percentile(gate, 50), percentile(lock, 50), percentile(hold, 50)
	f.SealP50, f.SealP99 = percentile(seal, 50), percentile(seal, 99)
	f.WholeP50, f.WholeP90, f.WholeMax = percentile(whole, 50), percentile(whole, 90), percentile(whole, 100)

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
