package readiness

import (
	"strings"
	"testing"
	"time"

	"drctl/targets"
)

func TestWhyACutIsOfALesserGrade(t *testing.T) {
	t.Parallel()

	orders := targets.ShardID{Target: "orders", Shard: "0"}
	since := time.Date(2026, 11, 27, 3, 4, 5, 0, time.Local)
	proven := &targets.CutProof{Grade: targets.Proven}
	ordered := &targets.CutProof{Grade: targets.Ordered}
	broken := &targets.CutProof{Grade: targets.Proven, BrokenCount: 7, Broken: []targets.BrokenGlobal{{ID: "order-17", Done: 1, Want: 2, Shards: []targets.ShardID{orders}, Since: since}}}

	for name, x := range map[string]struct {
		mode targets.Modes
		cut  targets.Cut
		want []string // of each problem
	}{
		"proven":                {"auto", targets.Cut{Proof: proven}, nil},
		"locked, as configured": {"locks", targets.Cut{}, nil},
		"ordered":               {"tagged", targets.Cut{Proof: ordered, Why: []string{"orders/0: 3 quiet instants fell into 17"}}, []string{"is ordered and not proven: orders/0: 3 quiet instants fell into 17"}},
		"locked, not wanted":    {"tagged+locks", targets.Cut{Why: []string{"the clock of orders/0 was stepped"}}, []string{"is locked and not proven: the clock of orders/0 was stepped"}},
		"gate used":             {"gate", targets.Cut{Proof: proven, Gate: &targets.GateUse{Holders: 1}}, nil},
		"gate not seen":         {"gate", targets.Cut{Proof: proven, Gate: &targets.GateUse{Unseen: 49}}, nil},
		"gate never seen":       {"gate", targets.Cut{Proof: proven, Gate: &targets.GateUse{Unseen: 50}}, []string{"at the last 50 cuts nobody was seen to use the gate"}},
		"gate elsewhere":        {"gate", targets.Cut{Proof: proven, Gate: &targets.GateUse{Elsewhere: []string{"pool"}}}, []string{"held in another database (pool)"}},
		"broken":                {"auto", targets.Cut{Proof: broken}, []string{`"order-17" is half done since 03:04 (1 of 2 parts, on orders/0)`, "2 global transactions more"}},
	} {
		got := judgeGrade(x.mode, x.cut)
		if len(got) != len(x.want) {
			t.Errorf("%s: %+v", name, got)
			continue
		}

		for i, p := range got {
			if text := p.Text(since.Add(time.Minute)); !strings.Contains(text, x.want[i]) {
				t.Errorf("%s: %q does not say %q", name, text, x.want[i])
			}
		}
	}
}
