package handover

import (
	"strings"
	"testing"

	"drctl/targets"
)

func TestSilenceCountsForItsInstanceAndItsEpochAlone(t *testing.T) {
	t.Parallel()

	in := func(region string) targets.Instance {
		return targets.Instance{Shard: targets.ShardID{Target: "orders", Shard: "0"}, Region: region, Address: region + ":5432"}
	}
	a, b := in("a"), in("b")
	of := func(in targets.Instance, kind SilenceKind, epoch uint64) Silence {
		return Silence{Instance: in.String(), Kind: kind, Epoch: epoch}
	}

	for name, c := range map[string]struct {
		proofs []Silence
		lacks  string
	}{
		"both":           {[]Silence{of(a, SilentStopped, 3), of(b, SilentStandby, 3)}, ""},
		"none":           {nil, "@a"},
		"one":            {[]Silence{of(a, SilentStopped, 3)}, "@b"},
		"one twice":      {[]Silence{of(a, SilentStopped, 3), of(a, SilentHook, 3)}, "@b"},
		"an older epoch": {[]Silence{of(a, SilentStopped, 3), of(b, SilentLease, 2)}, "@b"},
		"a later epoch":  {[]Silence{of(a, SilentStopped, 4), of(b, SilentLease, 3)}, "@a"},
		"no such kind":   {[]Silence{of(a, "asleep", 3), of(b, SilentLease, 3)}, "@a"},
		"no kind":        {[]Silence{of(a, "", 3), of(b, SilentLease, 3)}, "@a"},
	} {
		err := CheckSilence(3, []targets.Instance{a, b}, c.proofs)
		if (err == nil) != (c.lacks == "") || err != nil && !strings.Contains(err.Error(), c.lacks) {
			t.Errorf("%s: %v, want %q", name, err, c.lacks)
		}
	}
}
