package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/manifest"
	"drctl/internal/retry"
	"drctl/internal/s3client"
	"drctl/targets"
	"drctl/targets/s3/merge"
)

// maxNamed bounds the findings that name single objects; the summary counts all.
const maxNamed = 100

// The checks that Verify reports.
const (
	CheckBucket  = "s3 bucket readable"
	CheckListing = "s3 objects and sizes"
	CheckContent = "s3 contents"
	CheckObject  = "s3 object"
)

// Verify compares a bucket with the manifest: every object there, none too
// many, sizes, and (unless Quick) the SHA-256, content type and metadata of each.
func (d *Driver) Verify(ctx context.Context, in targets.Instance, want targets.Expectation) ([]targets.Finding, error) {
	b, err := open(ctx, in)
	if err != nil {
		return nil, err
	}
	defer b.close()
	begin := d.opt.Now()
	_, err = b.head(ctx, "verify", d.opt.Now)

	bucketFinding := targets.Finding{Check: CheckBucket, Subject: b.subject(""), Severity: targets.Passed, Took: d.opt.Now().Sub(begin)}
	if fail.Is(err, fail.NotFound) {
		bucketFinding.Severity, bucketFinding.Detail = targets.Failed, err.Error()
		return []targets.Finding{bucketFinding}, nil
	}

	if err != nil {
		return nil, err
	}

	findings := []targets.Finding{bucketFinding}
	for _, a := range want.Assertions {
		findings = append(findings, targets.Finding{Check: a.Name, Subject: in.Shard.String(), Severity: targets.Skipped,
			Detail: "an object store answers no queries; use checks.objects"})
	}

	if want.Manifest == nil {
		return append(findings, targets.Finding{Check: CheckListing, Subject: b.subject(""), Severity: targets.Skipped, Detail: "there is no manifest to compare with"}), nil
	}
	v := &verification{bucket: b, want: want}
	begin = d.opt.Now()

	if err := v.run(ctx); err != nil {
		return nil, err
	}

	return append(findings, v.findings(d.opt.Now().Sub(begin))...), nil
}

type verification struct {
	*bucket
	want targets.Expectation

	mu                             sync.Mutex
	named                          []targets.Finding
	wantObjects, wantBytes         int64
	haveObjects, haveBytes         int64
	listingFailures, contentFailed int64
	read                           int64
	oddFound                       int64 // objects in the bucket aside
}

func (v *verification) run(ctx context.Context) error {
	m, err := v.want.Manifest(ctx)
	if err != nil {
		return err
	}
	defer m.Close()
	var placing placer
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)

	for p, err := range merge.Join(v.current(ctx), manifest.Entries(m, "manifest of "+v.in.Shard.String()), listedKey, entryKey) {
		if err != nil {
			g.Go(func() error { return err })
			break
		}

		if gctx.Err() != nil {
			break
		}

		if v.in.Role == targets.Sandbox && p.Right != nil && placing.odd(*p.Right) {
			g.Go(func() error { return v.oddObject(gctx, *p.Right) })
			continue
		}

		if !v.listing(p) || v.want.Quick {
			continue
		}

		g.Go(func() error { return v.content(gctx, *p.Right) })
	}

	if err := g.Wait(); err != nil {
		return err
	}

	if err := ctx.Err(); err != nil {
		return err
	}

	return v.oddSurplus(ctx)
}

// listing compares what the two sides say of a key, without reading it. It
// reports whether the content is worth reading.
func (v *verification) listing(p merge.Pair[listed, manifest.Entry]) bool {
	v.mu.Lock()
	defer v.mu.Unlock()

	if p.Left != nil {
		v.haveObjects++
		v.haveBytes += p.Left.Size
	}

	if p.Right != nil {
		v.wantObjects++
		v.wantBytes += p.Right.Size
	}

	switch {
	case p.Right == nil:
		v.name(p.Left.Key, "no such object", fmt.Sprintf("%d bytes", p.Left.Size), "the object is not in the manifest")
	case p.Left == nil:
		v.name(p.Right.Key, fmt.Sprintf("%d bytes", p.Right.Size), "no such object", "the object is missing")
	case p.Left.Size != p.Right.Size:
		v.name(p.Right.Key, fmt.Sprintf("%d bytes", p.Right.Size), fmt.Sprintf("%d bytes", p.Left.Size), "the size differs")
	default:
		return true
	}

	v.listingFailures++

	return false
}

// name adds a finding for one object; the lock is held.
func (v *verification) name(key, expected, got, detail string) {
	if len(v.named) < maxNamed {
		v.named = append(v.named, targets.Finding{Check: CheckObject, Subject: v.subject(key), Severity: targets.Failed, Expected: expected, Got: got, Detail: detail})
	}
}

func (v *verification) content(ctx context.Context, e manifest.Entry) error {
	diff, err := v.compare(ctx, e)
	if err != nil {
		return err
	}

	v.mu.Lock()
	defer v.mu.Unlock()
	v.read += e.Size
	v.want.Progress.Report("verify objects", v.read, 0)

	if diff != "" {
		v.contentFailed++
		v.name(e.Key, e.SHA256, "", diff)
	}

	return nil
}

// compare reads an object and says how it differs from the manifest; "" when
// it does not. An error means that it could not be read at all.
func (b *bucket) compare(ctx context.Context, e manifest.Entry) (string, error) {
	var diff string

	err := retry.Do(ctx, again(fail.Unavailable, fail.Stalled), func() (err error) {
		diff, err = b.compareOnce(ctx, e)
		return err
	})

	return diff, err
}

func (b *bucket) compareOnce(ctx context.Context, e manifest.Entry) (string, error) {
	out, err := b.GetObject(ctx, &awss3.GetObjectInput{Bucket: b.name, Key: &e.Key})
	if code, _ := s3client.Status(err); code == 404 {
		return "the object is missing", nil
	}

	if err != nil {
		return "", b.fail(ctx, "verify", e.Key, err)
	}

	defer out.Body.Close()
	h := sha256.New()

	n, err := io.Copy(h, out.Body)
	if err != nil {
		return "", b.fail(ctx, "verify", e.Key, err)
	}

	var diffs []string
	if got := hex.EncodeToString(h.Sum(nil)); n != e.Size || got != e.SHA256 {
		diffs = append(diffs, fmt.Sprintf("the content has %d bytes and SHA-256 %s", n, got))
	}

	for _, f := range []struct{ name, want, got string }{
		{"content type", e.ContentType, aws.ToString(out.ContentType)},
		{"cache control", e.CacheControl, aws.ToString(out.CacheControl)},
		{"content encoding", e.ContentEncoding, aws.ToString(out.ContentEncoding)},
		{"content language", e.ContentLanguage, aws.ToString(out.ContentLanguage)},
		{"content disposition", e.ContentDisposition, aws.ToString(out.ContentDisposition)},
	} {
		if f.want != f.got {
			diffs = append(diffs, fmt.Sprintf("the %s is %q and should be %q", f.name, f.got, f.want))
		}
	}

	if !maps.Equal(e.Metadata, out.Metadata) {
		diffs = append(diffs, "the metadata differs: "+metadataText(out.Metadata)+" instead of "+metadataText(e.Metadata))
	}

	return strings.Join(diffs, "; "), nil
}

func metadataText(m map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s=%q", k, m[k]))
	}

	return "{" + strings.Join(parts, " ") + "}"
}

// findings sums up: the two summaries, then the objects by name.
func (v *verification) findings(took time.Duration) []targets.Finding {
	verdict := func(failed int64) targets.Severity {
		if failed > 0 {
			return targets.Failed
		}

		return targets.Passed
	}
	count := func(objects, bytes int64) string { return fmt.Sprintf("%d objects, %d bytes", objects, bytes) }

	out := []targets.Finding{{Check: CheckListing, Subject: v.subject(""), Severity: verdict(v.listingFailures),
		Expected: count(v.wantObjects, v.wantBytes), Got: count(v.haveObjects, v.haveBytes), Took: took}}
	if v.listingFailures > 0 {
		out[0].Detail = fmt.Sprintf("%d objects are missing, too many or of another size", v.listingFailures)
	}

	content := targets.Finding{Check: CheckContent, Subject: v.subject(""), Severity: verdict(v.contentFailed), Took: took,
		Expected: "every SHA-256 as in the manifest", Got: fmt.Sprintf("%d bytes read, %d objects differ", v.read, v.contentFailed)}
	if v.want.Quick {
		content.Severity, content.Got, content.Detail = targets.Skipped, "", "a quick check reads no contents"
	}
	out = append(out, content)

	slices.SortFunc(v.named, func(a, b targets.Finding) int { return strings.Compare(a.Subject, b.Subject) })

	if more := v.listingFailures + v.contentFailed - int64(len(v.named)); more > 0 {
		out[1].Detail = fmt.Sprintf("%d more objects are not named here", more)
	}

	return append(out, v.named...)
}
