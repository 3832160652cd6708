package s3

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/reconciliation"
)

// sides are buckets of one group in two regions.
func sides(t *testing.T, versioned bool) (east, west *fixture) {
	t.Helper()

	east, west = newFixture(t, versioned), newFixture(t, versioned)
	east.in.Region, west.in.Region = "east", "west"

	return east, west
}

func (f *fixture) reconcile(t *testing.T, o *fixture, req reconciliation.Request) reconciliation.Result {
	t.Helper()

	got, err := f.d.Reconcile(t.Context(), f.in, o.in, req)
	if err != nil {
		t.Fatal(err)
	}

	return got
}

func (f *fixture) keys() (out []string) {
	f.t.Helper()

	for o, err := range f.current(context.Background()) {
		f.must(f.t, err)
		out = append(out, o.Key)
	}

	return out
}

func kinds(r reconciliation.Result) (out []string) {
	for _, d := range r.Differences {
		out = append(out, d.Key+" "+d.Kind)
	}

	return out
}

// TestBothSides: two real buckets that went on separately.
func TestBothSides(t *testing.T) {
	for _, versioned := range []bool{true, false} {
		t.Run(fmt.Sprintf("versioned %v", versioned), func(t *testing.T) {
			east, west := sides(t, versioned)

			for _, f := range []*fixture{east, west} {
				for _, k := range []string{"kept", "gone in west", "gone and changed"} {
					f.putObject(t, k, "as it was")
				}
			}

			s := newStore(t)
			before, _ := east.snapshot(s, time.Now().Add(time.Hour))

			// They part.
			large := random(partSize+partSize/2, 3)

			west.putObject(t, "new/in west", "w", func(in *awss3.PutObjectInput) {
				in.ContentType, in.Metadata, in.CacheControl = aws.String("image/png"), map[string]string{"owner": "ann"}, aws.String("no-store")
			})
			west.putObject(t, "new/large", large)
			east.putObject(t, "new/in east", "e")
			east.putObject(t, "both", "written in east")
			west.putObject(t, "both", "written in west!")
			east.putObject(t, "both, same", "same")
			west.putObject(t, "both, same", "same")
			west.remove(t, "gone in west")
			west.remove(t, "gone and changed")
			east.putObject(t, "gone and changed", "it was changed")

			req := reconciliation.Request{Ancestor: func(ctx context.Context) (io.ReadCloser, error) { return s.Manifest(ctx, before.Manifest) }}
			wanted := []string{"both conflict", "gone and changed conflict", "gone in west deleted"}

			dry := req
			dry.DryRun = true

			if got := east.reconcile(t, west, dry); got.ToA != 2 || got.ToB != 1 || got.Conflicts != 2 || got.Deletions != 1 || len(west.keys()) != 5 || len(east.keys()) != 6 {
				t.Errorf("dry: %+v, %v, %v", got, east.keys(), west.keys())
			}

			got := east.reconcile(t, west, req)
			if !slices.Equal(kinds(got), wanted) || got.ToA != 2 || got.ToB != 1 || got.Same != 2 || got.Failed != 0 || got.Deleted != 0 {
				t.Errorf("%+v", got)
			}

			if east.read(t, "new/large") != large || west.read(t, "new/in east") != "e" || east.read(t, "both") != "written in east" || west.read(t, "both") != "written in west!" ||
				east.read(t, "gone in west") != "as it was" {
				t.Error("contents")
			}

			h, err := east.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: east.name, Key: aws.String("new/in west")})
			if err != nil || aws.ToString(h.ContentType) != "image/png" || h.Metadata["owner"] != "ann" || aws.ToString(h.CacheControl) != "no-store" {
				t.Errorf("%v %+v", err, h)
			}

			// A second time there is nothing to do, and no trial is left behind.
			if got := east.reconcile(t, west, req); got.ToA+got.ToB != 0 || !slices.Equal(kinds(got), wanted) || len(east.keys()) != 8 || len(west.keys()) != 6 {
				t.Errorf("again: %+v %v %v", got, east.keys(), west.keys())
			}

			if n := versions(t, east, ".drctl-trial-"); n != 0 {
				t.Errorf("%d versions of trials are left", n)
			}

			// Deletions that the bucket shows are carried out when somebody says so; a conflict never.
			req.Delete = true
			if got := east.reconcile(t, west, req); (got.Deleted == 1) != versioned || slices.Contains(east.keys(), "gone in west") == versioned || !slices.Contains(east.keys(), "gone and changed") {
				t.Errorf("deleted: %+v %v", got, east.keys())
			}
		})
	}
}

// versions counts what the bucket keeps below a prefix.
func versions(t *testing.T, f *fixture, prefix string) int {
	t.Helper()

	out, err := f.ListObjectVersions(t.Context(), &awss3.ListObjectVersionsInput{Bucket: f.name, Prefix: &prefix})
	if err != nil {
		if fail.Is(f.fail(t.Context(), "list", "", err), fail.Unavailable) {
			t.Fatal(err)
		}

		return 0 // the server keeps none
	}

	return len(out.Versions) + len(out.DeleteMarkers)
}

// TestNotThereYet: an object that was on its way to the other side when both parted is no deletion, where
// the bucket can show that it never was there.
func TestNotThereYet(t *testing.T) {
	east, west := sides(t, true)
	east.putObject(t, "on its way", "x")

	s := newStore(t)
	before, _ := east.snapshot(s, time.Now().Add(time.Hour))

	got := east.reconcile(t, west, reconciliation.Request{Delete: true, Ancestor: func(ctx context.Context) (io.ReadCloser, error) { return s.Manifest(ctx, before.Manifest) }})
	if got.ToB != 1 || got.Deletions != 0 || west.read(t, "on its way") != "x" {
		t.Errorf("%+v", got)
	}
}

// TestEmptiedBucket: a bucket that lost all it had is not called reconciled, and is filled when somebody says so.
func TestEmptiedBucket(t *testing.T) {
	east, west := sides(t, false)
	east.putObject(t, "kept", "x")

	s := newStore(t)
	before, _ := east.snapshot(s, time.Now().Add(time.Hour))
	req := reconciliation.Request{Delete: true, Ancestor: func(ctx context.Context) (io.ReadCloser, error) { return s.Manifest(ctx, before.Manifest) }}

	if got := east.reconcile(t, west, req); got.Emptied != "west" || got.Doubtful != 1 || got.Deletions != 1 || got.Deleted != 0 || len(west.keys()) != 0 {
		t.Errorf("%+v", got)
	}

	req.Fill = true
	if got := east.reconcile(t, west, req); got.Emptied != "" || got.Doubtful != 0 || got.ToB != 1 || west.read(t, "kept") != "x" {
		t.Errorf("filled: %+v", got)
	}
}

// TestWrittenDuring: what somebody writes while it runs is not overwritten.
func TestWrittenDuring(t *testing.T) {
	east, west := sides(t, false)
	for i := range 300 {
		west.putObject(t, fmt.Sprintf("k%03d", i), "west")
	}

	wrote := false
	got := east.reconcile(t, west, reconciliation.Request{Progress: func(r reconciliation.Result) {
		if wrote || r.ToA < 20 {
			return
		}
		wrote = true
		// The last key is listed already, and not copied yet.
		east.putObject(t, "k299", "somebody in east")
		west.putObject(t, "k298", "changed in west")
	}})

	if !wrote || got.Conflicts != 1 || got.Differences[0].Key != "k299" || got.Differences[0].A == nil || got.Differences[0].B == nil || got.Failed != 0 {
		t.Errorf("%+v", got)
	}

	if east.read(t, "k299") != "somebody in east" || west.read(t, "k299") != "west" || east.read(t, "k298") != "changed in west" {
		t.Error("it was overwritten")
	}
}

// TestOneBucket: two regions that use one bucket have nothing to reconcile.
func TestOneBucket(t *testing.T) {
	f := newFixture(t, false)
	f.putObject(t, "k", "x")

	other := f.in
	other.Region = "west"

	if got, err := f.d.Reconcile(t.Context(), f.in, other, reconciliation.Request{}); err != nil || got.Note == "" || got.Objects != 0 {
		t.Errorf("%v %+v", err, got)
	}

	other.Database, other.Prefix = "other", "p/"

	_, err := f.d.Reconcile(t.Context(), f.in, other, reconciliation.Request{})
	wantCode(t, err, fail.Unsupported)
}

const killedIn = "DRCTL_TEST_RECONCILE"

// TestMain is also the process that is killed in the middle.
func TestMain(m *testing.M) {
	spec := os.Getenv(killedIn)
	if spec == "" {
		os.Exit(m.Run())
	}

	f := strings.Split(spec, " ")
	in := func(region string, f []string) targets.Instance {
		return targets.Instance{Kind: targets.S3, Shard: targets.ShardID{Target: "media", Shard: "0"}, Region: region, User: f[0], Password: targets.NewSecret(f[1]), Address: f[2], Database: f[3]}
	}

	_, err := New(Options{}).Reconcile(context.Background(), in("east", f[:4]), in("west", f[4:]), reconciliation.Request{})
	fmt.Println(err)
	os.Exit(0)
}

// TestKilledInTheMiddle: kill -9 leaves no half object, and the next call goes on.
func TestKilledInTheMiddle(t *testing.T) {
	east, west := sides(t, true)

	const n = 40
	content := func(i int) string { return random(1<<20, byte(i)) }

	for i := range n {
		west.putObject(t, fmt.Sprintf("k%02d", i), content(i))
	}

	west.putObject(t, "large", random(3*partSize, 99))

	var spec []string
	for _, f := range []*fixture{east, west} {
		spec = append(spec, f.in.User, f.in.Password.Reveal(), f.in.Address, f.in.Database)
	}

	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), killedIn+"="+strings.Join(spec, " "))

	if err := c.Start(); err != nil {
		t.Fatal(err)
	}

	for until := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if have := len(east.keys()); have >= 5 {
			break
		}

		if time.Now().After(until) {
			t.Fatal("nothing is copied")
		}
	}

	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()

	copied := 0
	for _, k := range east.keys() {
		if strings.HasPrefix(k, "k") {
			copied++

			if east.read(t, k) != west.read(t, k) {
				t.Errorf("%s is half", k)
			}
		}
	}

	if copied == 0 || copied == n {
		t.Logf("it was killed after %d of %d", copied, n)
	}

	got := east.reconcile(t, west, reconciliation.Request{})
	if got.Conflicts != 0 || got.Failed != 0 || got.ToA == 0 || int(got.ToA+got.Same) != n+1 {
		t.Errorf("%d were copied before: %+v", copied, got)
	}

	for i := range n {
		if k := fmt.Sprintf("k%02d", i); east.read(t, k) != content(i) {
			t.Errorf("%s is not what it was", k)
		}
	}

	if east.read(t, "large") != random(3*partSize, 99) {
		t.Error("the large one is not what it was")
	}
}
