package s3

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// TestDamageIsFound alters a restored bucket behind the server's back.
func TestDamageIsFound(t *testing.T) {
	t.Parallel()

	f, s := newFixture(t, false), newStore(t)
	for i := range 20 {
		f.putObject(t, fmt.Sprintf("k%02d", i), fmt.Sprintf("content %02d", i), func(in *awss3.PutObjectInput) { in.Metadata = map[string]string{"n": fmt.Sprint(i)} })
	}
	p, _ := f.snapshot(s, time.Now())
	in := f.restore(s, p)

	verify := func(quick bool) []targets.Finding {
		t.Helper()
		want := expectation(s, p)
		want.Quick = quick
		fs, err := f.d.Verify(context.Background(), in, want)
		f.must(t, err)

		return failed(fs)
	}
	if fs := verify(false); len(fs) > 0 {
		t.Fatalf("before: %+v", fs)
	}
	file := filepath.Join(in.DataDir, "data", "media", "k07")
	raw, err := os.OpenFile(file, os.O_WRONLY, 0)
	f.must(t, err)
	_, err = raw.WriteAt([]byte("X"), 3) // one byte, the size stays
	f.must(t, err)
	f.must(t, raw.Close())

	if fs := verify(true); len(fs) > 0 {
		t.Errorf("a quick check reads no contents: %+v", fs)
	}

	if fs := verify(false); len(fs) != 2 || fs[0].Check != CheckContent || !strings.Contains(fs[1].Subject, "k07") {
		t.Errorf("flipped byte: %+v", fs)
	}
	b := openTest(t, in)
	b.putObject(t, "k08", "content 08", func(in *awss3.PutObjectInput) { in.Metadata = map[string]string{"n": "9"} })
	b.putObject(t, "k09", "content 09 and more")
	b.remove(t, "k10")
	b.putObject(t, "surplus", "x")

	all := fmt.Sprint(verify(false))
	for _, k := range []string{"k07", "k08", "k09", "k10", "surplus"} {
		if !strings.Contains(all, "key "+k) {
			t.Errorf("%s is not named: %s", k, all)
		}
	}

	if strings.Contains(all, "key k11") {
		t.Error("k11 is whole")
	}

	all = fmt.Sprint(verify(true))
	for _, k := range []string{"k09", "k10", "surplus"} {
		if !strings.Contains(all, "key "+k) {
			t.Errorf("quick: %s is not named: %s", k, all)
		}
	}
}

// TestRestoreRefusesDamage: content that is not what the manifest says never
// becomes an object.
func TestRestoreRefusesDamage(t *testing.T) {
	t.Parallel()
	f, s := newFixture(t, false), newStore(t)
	big := random(9<<20, 1)
	f.putObject(t, "big", big)
	f.putObject(t, "small", "small")

	p, _ := f.snapshot(s, time.Now())
	for _, k := range []string{"big", "small"} {
		path := s.path(s.entries(t, p.Manifest)[k].SHA256)
		whole, err := os.ReadFile(path)
		f.must(t, err)

		for name, bad := range map[string][]byte{"flipped": append([]byte{whole[0] ^ 1}, whole[1:]...), "short": whole[:len(whole)-1], "long": append(append([]byte{}, whole...), 'x')} {
			f.must(t, os.WriteFile(path, bad, 0o600))
			to := f.in
			to.Database = "to-" + k + "-" + name
			_, err := f.d.Restore(context.Background(), to, targets.RestoreRequest{Point: p}, s)
			wantCode(t, err, fail.Corrupt)

			if !strings.Contains(err.Error(), "key "+k) {
				t.Errorf("the key is not named: %v", err)
			}

			for l, err := range openTest(t, to).current(context.Background()) {
				f.must(t, err)

				if l.Key == k {
					t.Errorf("%s %s appeared", name, k)
				}
			}
		}

		f.must(t, os.WriteFile(path, whole, 0o600))
	}
}

func TestRestoreIntoBuckets(t *testing.T) {
	t.Parallel()

	f, s := newFixture(t, true), newStore(t)
	for i := range 30 {
		f.putObject(t, fmt.Sprintf("k%02d", i), fmt.Sprintf("content %02d", i))
	}
	p, _ := f.snapshot(s, time.Now())
	req := targets.RestoreRequest{Point: p}
	ctx := context.Background()

	f.putObject(t, "later", "x")
	_, err := f.d.Restore(ctx, f.in, req, s)
	wantCode(t, err, fail.Conflict)

	// Broken off half way, then repeated: it goes on, and only then is it done.
	to := f.in
	to.Database = "restored"
	n := 0
	s.broken = func(string) error {
		s.mu.Lock()

		n++
		late := n > 10

		s.mu.Unlock()

		if late {
			there := func() (n int) {
				for _, err := range openTest(t, to).current(ctx) {
					if err == nil {
						n++
					}
				}

				return n
			}
			for i := 0; i < 2400 && there() == 0; i++ {
				time.Sleep(50 * time.Millisecond)
			}

			return fail.Newf(fail.Unavailable, "test", "", "the vault is gone")
		}

		return nil
	}
	_, err = f.d.Restore(ctx, to, req, s)
	wantCode(t, err, fail.Unavailable)
	s.broken = nil
	before := s.opens.Load()
	_, err = f.d.Restore(ctx, to, req, s)
	f.must(t, err)

	if again := s.opens.Load() - before; again == 0 || again >= 30 {
		t.Errorf("%d objects were put again", again)
	}

	if fs, err := f.d.Verify(ctx, to, expectation(s, p)); err != nil || len(failed(fs)) > 0 {
		t.Errorf("%+v %v", fs, err)
	}
	before = s.opens.Load()
	_, err = f.d.Restore(ctx, to, req, s) // once more: it is as it is to be
	f.must(t, err)

	b := openTest(t, to)
	if tags, err := b.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: b.name}); err == nil && len(tags.TagSet) > 0 {
		t.Errorf("a restore that had nothing to do left the tags %v", tags.TagSet)
	}

	if again := s.opens.Load() - before; again != 0 {
		t.Errorf("%d objects were put again", again)
	}

	// A delta makes the bucket equal and writes only what differs.
	b.putObject(t, "k05", "content XX")
	_, err = f.d.Restore(ctx, to, req, s) // equal in names and sizes alone
	wantCode(t, err, fail.Conflict)

	if got := b.read(t, "k05"); got != "content XX" {
		t.Errorf("a refused restore wrote %q", got)
	}

	b.putObject(t, "surplus", "x")
	b.remove(t, "k06")
	before = s.opens.Load()
	_, err = f.d.Restore(ctx, to, targets.RestoreRequest{Point: p, Delta: true}, s)
	f.must(t, err)

	if again := s.opens.Load() - before; again != 2 {
		t.Errorf("%d objects were put again", again)
	}

	if fs, err := f.d.Verify(ctx, to, expectation(s, p)); err != nil || len(failed(fs)) > 0 {
		t.Errorf("%+v %v", fs, err)
	}

	// A delta that broke off is no restore that others go on from, and an object
	// that somebody wrote into a restore that broke off is not overwritten.
	tags := []types.Tag{{Key: aws.String("team"), Value: aws.String("shop")}}
	for _, delta := range []bool{true, false} {
		to := f.in
		to.Database = fmt.Sprintf("stale-%t", delta)
		b := openTest(t, to)
		_, err = b.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: b.name})
		f.must(t, err)
		_, err = b.PutBucketTagging(ctx, &awss3.PutBucketTaggingInput{Bucket: b.name, Tagging: &types.Tagging{TagSet: tags}})
		f.must(t, err)

		stale := func() { b.putObject(t, "k05", "content XX") } // of the size that k05 has in the manifest
		if delta {
			stale()
		}
		s.broken = func(string) error { return fail.Newf(fail.Unavailable, "test", "", "the vault is gone") }
		_, err = f.d.Restore(ctx, to, targets.RestoreRequest{Point: p, Delta: delta}, s)
		wantCode(t, err, fail.Unavailable)
		s.broken = nil

		if !delta {
			stale()
		}
		_, err = f.d.Restore(ctx, to, req, s)
		wantCode(t, err, fail.Conflict)

		if got := b.read(t, "k05"); got != "content XX" {
			t.Errorf("delta %t: a refused restore wrote %q", delta, got)
		}
		_, err = f.d.Restore(ctx, to, targets.RestoreRequest{Point: p, Delta: true}, s)
		f.must(t, err)

		if fs, err := f.d.Verify(ctx, to, expectation(s, p)); err != nil || len(failed(fs)) > 0 {
			t.Errorf("delta %t: %+v %v", delta, fs, err)
		}
		got, err := b.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: b.name})
		f.must(t, err)

		if len(got.TagSet) != 1 || aws.ToString(got.TagSet[0].Key) != "team" {
			t.Errorf("delta %t: the bucket's tags are %v", delta, got.TagSet)
		}
	}

	full := sandboxOf(t)
	f.must(t, os.MkdirAll(filepath.Join(full.DataDir, "other"), 0o755))
	_, err = f.d.Restore(ctx, full, req, s)
	wantCode(t, err, fail.Conflict)
	_, err = f.d.Restore(ctx, sandboxOf(t), targets.RestoreRequest{}, s)
	wantCode(t, err, fail.Invalid)
}

// What an object had and a snapshot does not keep is listed when it is restored;
// a bucket that a restore makes keeps versions where the source did.
func TestAttributesThatAreNotKept(t *testing.T) {
	t.Parallel()
	f, s := newFixture(t, true), newStore(t)
	f.putObject(t, "plain", "x")

	for _, k := range []string{"tagged", "tagged too"} {
		f.putObject(t, k, "x", func(in *awss3.PutObjectInput) { in.Tagging = aws.String("class=cold&n=1") })
	}
	p, _ := f.snapshot(s, time.Now())

	to := f.in
	to.Database = "made-by-the-restore"
	out, err := f.d.Restore(context.Background(), to, targets.RestoreRequest{Point: p}, s)
	f.must(t, err)

	if len(out.Findings) != 1 || !strings.Contains(out.Findings[0].Detail, "tags (of 2 objects") || !strings.Contains(out.Findings[0].Detail, `"tagged"`) {
		t.Errorf("findings: %+v", out.Findings)
	}

	if state, err := openTest(t, to).versioning(context.Background()); err != nil || state != "Enabled" {
		t.Errorf("versioning of the bucket that was made: %q, %v", state, err)
	}
}

func TestNotKept(t *testing.T) {
	out := &awss3.GetObjectOutput{StorageClass: types.StorageClassStandardIa, WebsiteRedirectLocation: aws.String("/other"),
		ExpiresString: aws.String("0"), ObjectLockLegalHoldStatus: types.ObjectLockLegalHoldStatusOn}
	if got := fmt.Sprint(notKept(out)); got != "[storage class STANDARD_IA website redirect object lock expiry header that is no date]" {
		t.Error(got)
	}

	if got := notKept(&awss3.GetObjectOutput{StorageClass: types.StorageClassStandard, ExpiresString: aws.String("Fri, 27 Nov 2026 00:00:00 GMT")}); len(got) > 0 {
		t.Error(got)
	}
}

// TestRestoreCarriesChecksums: a bucket that refuses writes without a checksum,
// as one with object lock does, takes a restore, in one piece and in parts.
func TestRestoreCarriesChecksums(t *testing.T) {
	t.Parallel()
	f, s := newFixture(t, true), newStore(t)
	f.putObject(t, "small", "content")
	f.putObject(t, "large", random(partSize+partSize/2, 7))

	p, _ := f.snapshot(s, time.Now())
	for name, secure := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			front := sandboxtest.NewLockFront(t, f.in, secure)
			to := f.in

			to.Address, to.Database = front.URL, "restored-"+name
			if secure {
				to.CAFile = filepath.Join(t.TempDir(), "ca.pem")
				cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})
				f.must(t, os.WriteFile(to.CAFile, cert, 0o600))
			}
			_, err := f.d.Restore(context.Background(), to, targets.RestoreRequest{Point: p}, s)
			f.must(t, err)

			if n := front.Writes.Load(); n != 1+2 {
				t.Errorf("%d writes came through the front", n)
			}

			if fs, err := f.d.Verify(context.Background(), to, expectation(s, p)); err != nil || len(failed(fs)) > 0 {
				t.Errorf("%+v %v", fs, err)
			}
		})
	}
}
