package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"drctl/internal/manifest"
	"drctl/internal/s3client"
	"drctl/targets"
)

// The server of a sandbox keeps objects as files, and a file system holds less
// than S3: no "a" beside "a/b", no empty or dotted parts of a path, no part of
// more than 255 bytes, no content in a folder. Its listings are XML and do not
// name every key. Objects with such keys go into a bucket of their own beside the
// other, under names that any server holds. Which ones follows from the manifest
// alone, so that whoever has it finds them again.

// maxName is the longest name of a file, in bytes.
const maxName = 255

// folderType is the content type that the sandbox's server gives to folders.
const folderType = "application/x-directory"

// placer tells, entry by entry in the order of a manifest, which objects the
// server of a sandbox cannot hold under their own keys. Its memory is bounded by
// the length of a key.
type placer struct {
	above []string // objects whose keys are beginnings of the next one's
}

func (p *placer) odd(e manifest.Entry) bool {
	for n := len(p.above); n > 0 && !strings.HasPrefix(e.Key, p.above[n-1]); n-- {
		p.above = p.above[:n-1]
	}
	for _, file := range p.above {
		if e.Key[len(file)] == '/' {
			return true // a file would have to be a folder
		}
	}
	if unplaceable(e) {
		return true
	}
	p.above = append(p.above, e.Key)
	return false
}

func unplaceable(e manifest.Entry) bool {
	if strings.ContainsFunc(e.Key, unlistable) {
		return true
	}
	parts := strings.Split(e.Key, "/")
	if folder := len(parts) - 1; parts[folder] == "" {
		if e.Size > 0 || e.ContentType != folderType || len(e.Metadata) > 0 {
			return true // a folder keeps neither content nor headers
		}
		parts = parts[:folder]
	}
	for i, part := range parts {
		if part == "" || part == "." || part == ".." || len(part) > maxName || i == 0 && strings.HasPrefix(part, ".sgwtmp") {
			return true
		}
	}
	return false
}

// unlistable reports a character that XML 1.0 cannot hold, or the one that a
// listing has in the place of those.
func unlistable(c rune) bool {
	return c < ' ' && c != '\t' && c != '\n' && c != '\r' || c >= utf8.RuneError && c <= '\uffff'
}

// place is how an odd object is kept.
func place(e manifest.Entry) manifest.Entry {
	e.Key = targets.OddName(e.Key)
	return e
}

// aside is the bucket beside b that holds the odd objects.
func (b *bucket) aside() *bucket {
	name := targets.OddBucket
	other := *b
	other.name = &name
	return &other
}

// putAside makes the restoration of the odd objects.
func (r *restoration) putAside(ctx context.Context) error {
	if r.oddObjects == 0 {
		return nil
	}
	r.odd = &restoration{bucket: r.aside(), from: r.from, req: r.req, memory: r.memory}
	_, err := r.odd.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: r.odd.name})
	if code, _ := s3client.Status(err); code == http.StatusConflict {
		return nil // made by an earlier call
	}
	return r.fail(ctx, "make a bucket for keys that the sandbox's server cannot hold", "", err)
}

// oddFindings say where the odd objects are.
func (r *restoration) oddFindings() []targets.Finding {
	if r.oddObjects == 0 {
		return nil
	}
	return []targets.Finding{{Check: "keys in the sandbox", Subject: r.in.String(), Severity: targets.Warned,
		Detail: fmt.Sprintf("%d objects have keys that the sandbox's server, which keeps files, cannot hold: they are in its bucket %s, each under the SHA-256 of its key (the first is %q, as %s). A restore into a bucket of the platform keeps every key",
			r.oddObjects, targets.OddBucket, r.oddFirst, targets.OddName(r.oddFirst))}}
}

// oddObject verifies an object of the bucket aside.
func (v *verification) oddObject(ctx context.Context, e manifest.Entry) error {
	size, err := v.oddSize(ctx, e)
	if err != nil {
		return err
	}
	whole := func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.wantObjects++
		v.wantBytes += e.Size
		if size >= 0 {
			v.haveObjects++
			v.haveBytes += size
			v.oddFound++
		}
		switch {
		case size < 0:
			v.name(e.Key, fmt.Sprintf("%d bytes", e.Size), "no such object", "the object is missing in the bucket "+targets.OddBucket)
		case size != e.Size:
			v.name(e.Key, fmt.Sprintf("%d bytes", e.Size), fmt.Sprintf("%d bytes", size), "the size differs")
		default:
			return true
		}
		v.listingFailures++
		return false
	}()
	if !whole || v.want.Quick {
		return nil
	}

	diff, err := v.aside().compare(ctx, place(e))
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.read += e.Size
	if diff != "" {
		v.contentFailed++
		v.name(e.Key, e.SHA256, "", diff)
	}
	return nil
}

// oddSize is -1 for an object that is not there.
func (v *verification) oddSize(ctx context.Context, e manifest.Entry) (int64, error) {
	other, key := v.aside(), targets.OddName(e.Key)
	out, err := other.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: other.name, Key: &key})
	if code, _ := s3client.Status(err); code == http.StatusNotFound {
		return -1, nil
	}
	if err != nil {
		return 0, other.fail(ctx, "verify", key, err)
	}
	if out.ContentLength == nil {
		return 0, other.fail(ctx, "verify", key, errors.New("the server gives no length"))
	}
	return *out.ContentLength, nil
}

// oddSurplus looks for objects aside that no entry of the manifest has.
func (v *verification) oddSurplus(ctx context.Context) error {
	if v.in.Role != targets.Sandbox {
		return nil
	}
	n := int64(0)
	for _, err := range v.aside().current(ctx) {
		if err != nil {
			if code, _ := s3client.Status(err); code == http.StatusNotFound {
				break // there is no such bucket
			}
			return err
		}
		n++
	}
	if more := n - v.oddFound; more > 0 {
		v.haveObjects += more
		v.listingFailures += more
		v.name(targets.OddBucket, "", fmt.Sprintf("%d objects too many", more), "the bucket holds objects that are not in the manifest")
	}
	return nil
}
