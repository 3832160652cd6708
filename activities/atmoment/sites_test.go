package atmoment

import (
	"context"
	"path/filepath"
	"testing"

	"drctl/internal/platform"
	"drctl/restore/plan"
	"drctl/targets"
)

// someHosts is a platform whose shards are on hosts by their names.
type someHosts struct{ platform.OnlyVault }

func (someHosts) Instance(_ context.Context, id targets.ShardID, region string) (targets.Instance, error) {
	in := targets.Instance{Kind: targets.Postgres, Shard: id, Region: region, DataDir: "/data"}
	if id.Shard == "far" {
		in.Host = "far"
	}

	return in, nil
}

func (someHosts) Host(targets.ShardID, string) (stop, start []string) { return nil, nil }

// What is laid down on one volume has to have room there together. What is on another, or on another host, needs none of it.
func TestRoomForAllOnAVolume(t *testing.T) {
	root := t.TempDir()
	d, r := plan.Definition{To: "west"}, plan.Run{}

	for name, dir := range map[string]string{"0": root, "1": root, "far": root, "proc": "/proc"} {
		id := targets.ShardID{Target: "orders", Shard: name}
		d.Steps = append(d.Steps, plan.StepDef{ID: "restore-" + name, Do: plan.OpRestore, On: id, Kind: targets.Postgres, Into: plan.Destination{DataDir: filepath.Join(dir, name)}})
		r.Steps = append(r.Steps, plan.Step{ID: "restore-" + name, Op: plan.OpRestore, Shard: id, BaseBytes: 100, StreamBytes: 10})
	}

	a := Sites{Hosts: someHosts{}, Host: "here"}
	for _, s := range d.Steps {
		want := int64(220)
		if s.On.Shard == "proc" {
			want = 110
		}

		if got := a.together(t.Context(), d, r, s); s.On.Shard != "far" && got != want {
			t.Errorf("%s: %d bytes, want %d", s.ID, got, want)
		}
	}
}
