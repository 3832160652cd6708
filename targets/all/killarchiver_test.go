package all_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"testing"
	"time"

	"drctl/internal/servers"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
	"drctl/targets/all"
)

// archiverEnv makes the test binary an archiver: a process that can be killed.
const archiverEnv = "DRCTL_TEST_ARCHIVER"

func TestMain(m *testing.M) {
	if os.Getenv(archiverEnv) != "" {
		archiverProcess()
	}
	os.Exit(m.Run())
}

// archiverJob is what the archiver process reads from its standard input.
type archiverJob struct {
	Key       string
	Vaults    []vaultPlace
	Instances []archivedInstance
}

type vaultPlace struct{ Region, URL, Endpoint, AccessKey, Secret string }

// archivedInstance is an instance in full: a targets.Secret hides itself.
type archivedInstance struct {
	Kind                                       targets.Kind
	Shard                                      targets.ShardID
	Address, User, Password, Database, DataDir string
}

func (x archivedInstance) instance() targets.Instance {
	return targets.Instance{Kind: x.Kind, Shard: x.Shard, Region: "east", Role: targets.Primary, Address: x.Address, User: x.User,
		Password: targets.NewSecret(x.Password), Database: x.Database, DataDir: x.DataDir}
}

func (j archiverJob) set(ctx context.Context, open func(context.Context, vault.Options) (*vault.Vault, error)) (vault.Set, error) {
	set := vault.Set{Durability: len(j.Vaults)}
	key, err := vault.ParseKey(targets.NewSecret(j.Key))
	if err != nil {
		return set, err
	}
	tools, err := servers.Find(servers.Binaries{})
	if err != nil {
		return set, err
	}
	id := ""
	for _, p := range j.Vaults {
		v, err := open(ctx, vault.Options{Region: p.Region, Key: key, Set: id, ResticBin: tools.ResticBin, Log: slog.New(slog.DiscardHandler),
			Location: vault.Location{URL: p.URL, Endpoint: p.Endpoint, Region: "us-east-1", AccessKey: p.AccessKey, SecretKey: targets.NewSecret(p.Secret)}})
		if err != nil {
			return set, err
		}
		id = v.SetID()
		set.Vaults = append(set.Vaults, v)
	}
	return set, nil
}

// archiverProcess archives until it is killed. What ends on the way is begun
// again, as the engine does with the activity.
func archiverProcess() {
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var job archiverJob
	if err := json.NewDecoder(os.Stdin).Decode(&job); err != nil {
		log.Error("no job", "err", err)
		os.Exit(1)
	}
	var set vault.Set
	for {
		var err error
		if set, err = job.set(ctx, vault.Open); err == nil {
			break
		}
		log.Error("open the vaults", "err", err)
		time.Sleep(100 * time.Millisecond)
	}
	tools, err := servers.Find(servers.Binaries{})
	if err != nil {
		log.Error("tools", "err", err)
		os.Exit(1)
	}
	followers := map[targets.Kind]targets.Follower{}
	for _, d := range all.Drivers(all.Options{Tools: tools, Log: log}) {
		if f, ok := d.(targets.Follower); ok {
			followers[d.Kind()] = f
		}
	}
	for _, x := range job.Instances {
		go func() {
			in := x.instance()
			for {
				err := archiveOnce(ctx, set, followers[in.Kind], in)
				log.Warn("archiver ended", "shard", in.Shard.String(), "err", err)
				time.Sleep(50 * time.Millisecond)
			}
		}()
	}
	select {}
}

func archiveOnce(ctx context.Context, set vault.Set, f targets.Follower, in targets.Instance) error {
	a, err := stream.NewArchiver(ctx, stream.Options{Set: set, Shard: in.Shard, Kind: in.Kind, Region: in.Region,
		ChunkAge: 60 * time.Millisecond, ChunkSize: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer a.Abort()
	return f.Follow(ctx, in, a)
}
