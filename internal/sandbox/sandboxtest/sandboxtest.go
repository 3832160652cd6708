// Package sandboxtest gives tests real servers that end with the test. A test
// that cannot find its server fails; it never skips.
package sandboxtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"drctl/internal/servers"
	"drctl/targets"
)

// The password of every test server's users.
const Password = "test-secret"

// The tools that make builds lie in bin/ of the checkout, where drctl does not
// look by itself: tests and what they start find them in PATH. Those of
// bin/testing come first (tools/build.sh says what is cheaper about them).
func init() {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, serr := os.Stat(filepath.Join(dir, "go.mod")); serr == nil {
			path := []string{filepath.Join(dir, "bin", "testing"), filepath.Join(dir, "bin"), os.Getenv("PATH")}
			_ = os.Setenv("PATH", strings.Join(path, string(os.PathListSeparator)))

			return
		}

		if dir == filepath.Dir(dir) {
			return
		}
	}
}

// Tools finds the servers and fails the test when one is missing.
func Tools(t testing.TB) servers.Binaries {
	t.Helper()

	tools, err := servers.Find(servers.Binaries{})
	if err != nil {
		t.Fatal(err)
	}

	if tools.PostgresBin == "" || tools.RedisServer == "" || tools.S3Server == "" || tools.ResticBin == "" {
		t.Fatalf("servers are missing (run make setup tools): %+v", tools)
	}

	return tools
}

// Dir makes a directory that the servers' user can traverse, removed with the test.
func Dir(t testing.TB) string {
	t.Helper()

	d, err := os.MkdirTemp("", "drctl-test-")
	if err != nil {
		t.Fatal(err)
	}

	if err := os.Chmod(d, 0o755); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = os.RemoveAll(d) })

	return d
}

// PostgresOptions vary a test server.
type PostgresOptions struct {
	Shard    string // "orders/0" when empty
	Settings map[string]string
	Durable  bool // fsync on
	Proc     *servers.Server
}

var template struct {
	sync.Mutex
	dir string
}

// cluster returns the path of a stopped cluster made once per set of tests:
// initdb takes seconds.
func cluster(t testing.TB, tools servers.Binaries) string {
	t.Helper()

	template.Lock()
	defer template.Unlock()

	if template.dir != "" {
		return template.dir
	}
	sum := sha256.Sum256([]byte(tools.PostgresBin + string(tools.RunAs) + "v2"))
	root := filepath.Join(os.TempDir(), fmt.Sprintf("drctl-pgtemplate-%d-%s", os.Geteuid(), hex.EncodeToString(sum[:6])))

	dir := filepath.Join(root, "data")
	if _, err := os.Stat(filepath.Join(root, "done")); err != nil {
		// Made aside and renamed, so that concurrent test processes agree.
		tmp, err := os.MkdirTemp("", "drctl-pgtemplate-new-")
		if err != nil {
			t.Fatal(err)
		}

		_ = os.Chmod(tmp, 0o755)
		if err := tools.InitPostgres(context.Background(), servers.PostgresSpec{Dir: filepath.Join(tmp, "data"), User: "drctl", Password: targets.NewSecret(Password), NoSync: true}); err != nil {
			t.Fatal(err)
		}

		if err := createShop(tools, filepath.Join(tmp, "data")); err != nil {
			t.Fatal(err)
		}

		if err := os.WriteFile(filepath.Join(tmp, "done"), nil, 0o644); err != nil {
			t.Fatal(err)
		}

		if err := os.Rename(tmp, root); err != nil {
			_ = os.RemoveAll(tmp) // another was first
		}
	}
	template.dir = dir

	return dir
}

// Postgres starts a primary with a superuser drctl and a database shop.
func Postgres(t testing.TB, o PostgresOptions) targets.Instance {
	t.Helper()
	tools := Tools(t)

	dir := filepath.Join(Dir(t), "pg")
	if out, err := exec.Command("cp", "-a", "--reflink=auto", cluster(t, tools), dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the template: %v: %s", err, out)
	}

	if err := newSystemID(tools, dir); err != nil {
		t.Fatal(err)
	}

	return instance(o.Shard, dir, startPostgres(t, tools, dir, o))
}

func startPostgres(t testing.TB, tools servers.Binaries, dir string, o PostgresOptions) servers.Server {
	t.Helper()

	set := map[string]string{"wal_level": "replica", "max_prepared_transactions": "64", "shared_buffers": "16MB",
		"max_wal_senders": "10", "max_replication_slots": "10", "hot_standby": "on", "max_connections": "60"}
	if !o.Durable {
		set["fsync"] = "off"
	}

	for k, v := range o.Settings {
		set[k] = v
	}

	p, err := tools.StartPostgres(context.Background(), servers.PostgresSpec{Dir: dir, Settings: set,
		HBA: []string{"host all all 127.0.0.1/32 scram-sha-256", "host replication all 127.0.0.1/32 scram-sha-256"}})
	if err != nil {
		t.Fatal(err)
	}

	if o.Proc != nil {
		*o.Proc = p
	}

	t.Cleanup(func() { _ = p.Kill() })

	return p
}

func instance(shard, dir string, p servers.Server) targets.Instance {
	if shard == "" {
		shard = "orders/0"
	}

	id, err := targets.ParseShardID(shard)
	if err != nil {
		panic(err)
	}

	return targets.Instance{Kind: targets.Postgres, Shard: id, Region: "east", Role: targets.Primary, Address: p.Address,
		User: "drctl", Password: targets.NewSecret(Password), Database: "shop", DataDir: dir}
}

// DSN is a connection string for tests.
func DSN(in targets.Instance, database string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", in.User, in.Password.Reveal(), in.Address, database)
}

// Standby starts a streaming standby of a primary.
func Standby(t testing.TB, primary targets.Instance, o PostgresOptions) targets.Instance {
	t.Helper()
	tools := Tools(t)
	dir := filepath.Join(Dir(t), "pg")

	slot := "s" + strings.ReplaceAll(filepath.Base(filepath.Dir(dir)), "-", "_")
	if err := tools.BaseBackup(context.Background(), primary, servers.PostgresSpec{Dir: dir, NoSync: true}, slot); err != nil {
		t.Fatal(err)
	}
	p := startPostgres(t, tools, dir, o)
	in := instance(primary.Shard.String(), dir, p)
	in.Role, in.Region = targets.Standby, "west"

	return in
}

// RedisOptions vary a test server.
type RedisOptions struct {
	Shard    string // "carts/0" when empty
	Settings map[string]string
	Proc     *servers.Server
}

// Redis starts a master.
func Redis(t testing.TB, o RedisOptions) targets.Instance { return redis(t, o, "") }

// RedisReplica starts a replica of a master.
func RedisReplica(t testing.TB, master targets.Instance, o RedisOptions) targets.Instance {
	in := redis(t, o, master.Address)
	in.Role, in.Region = targets.Standby, "west"

	return in
}

func redis(t testing.TB, o RedisOptions, of string) targets.Instance {
	t.Helper()

	set := map[string]string{"save": "", "repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0", "enable-debug-command": "local"}
	for k, v := range o.Settings {
		set[k] = v
	}
	dir := filepath.Join(Dir(t), "redis")

	p, err := Tools(t).StartRedis(context.Background(), servers.RedisSpec{Dir: dir, Password: targets.NewSecret(Password), ReplicaOf: of, Settings: set})
	if err != nil {
		t.Fatal(err)
	}

	if o.Proc != nil {
		*o.Proc = p
	}

	t.Cleanup(func() { _ = p.Kill() })

	if o.Shard == "" {
		o.Shard = "carts/0"
	}

	id, err := targets.ParseShardID(o.Shard)
	if err != nil {
		t.Fatal(err)
	}

	return targets.Instance{Kind: targets.Redis, Shard: id, Region: "east", Role: targets.Primary, Address: p.Address,
		Password: targets.NewSecret(Password), DataDir: dir}
}

// S3 starts a server and makes a bucket named media.
func S3(t testing.TB, versioned bool) targets.Instance {
	t.Helper()
	secret := targets.NewSecret(Password)

	p, err := Tools(t).StartS3(context.Background(), servers.S3Spec{Dir: filepath.Join(Dir(t), "s3"), AccessKey: "test", SecretKey: secret})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = p.Kill() })
	in := targets.Instance{Kind: targets.S3, Shard: targets.ShardID{Target: "media", Shard: "0"}, Region: "east", Role: targets.Primary,
		Address: "http://" + p.Address, User: "test", Password: secret, Database: "media"}
	Bucket(t, in, versioned)

	return in
}

// Client is an S3 client for an instance.
func Client(in targets.Instance) *awss3.Client {
	return awss3.New(awss3.Options{Region: "us-east-1", BaseEndpoint: aws.String(in.Address), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(in.User, in.Password.Reveal(), "")})
}

// Bucket makes the instance's bucket.
func Bucket(t testing.TB, in targets.Instance, versioned bool) {
	t.Helper()

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	c := Client(in)
	if _, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: &in.Database}); err != nil {
		t.Fatal(err)
	}

	if versioned {
		if _, err := c.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{Bucket: &in.Database,
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
			t.Fatal(err)
		}
	}
}
