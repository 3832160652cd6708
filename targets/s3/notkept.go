package s3

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"drctl/internal/manifest"
	"drctl/targets"
)

// notKept names what the answer to a read says of an object that a snapshot does
// not keep. Access control lists do not show there; they are never kept.
func notKept(out *awss3.GetObjectOutput) []string {
	var lost []string
	add := func(is bool, what string) {
		if is {
			lost = append(lost, what)
		}
	}

	add(aws.ToInt32(out.TagCount) > 0, "tags")
	add(out.StorageClass != "" && out.StorageClass != types.StorageClassStandard, "storage class "+string(out.StorageClass))
	add(aws.ToString(out.WebsiteRedirectLocation) != "", "website redirect")
	add(out.ObjectLockMode != "" || out.ObjectLockLegalHoldStatus == types.ObjectLockLegalHoldStatusOn, "object lock")
	if e := aws.ToString(out.ExpiresString); e != "" {
		_, err := http.ParseTime(e)
		add(err != nil, "expiry header that is no date")
	}
	return lost
}

// losses counts what a manifest's objects had and a restore does not give back.
type losses map[string]*loss

type loss struct {
	objects int64
	first   string // key
}

func (l losses) add(e manifest.Entry) {
	for _, what := range e.NotKept {
		if l[what] == nil {
			l[what] = &loss{first: e.Key}
		}
		l[what].objects++
	}
}

// maxLosses bounds what is listed: a storage class is what a server calls it.
const maxLosses = 20

// findings say it to a person.
func (l losses) findings(subject string) []targets.Finding {
	var out []targets.Finding
	note := func(format string, args ...any) {
		out = append(out, targets.Finding{Check: "attributes that are not kept", Subject: subject, Severity: targets.Warned, Detail: fmt.Sprintf(format, args...)})
	}
	for _, what := range slices.Sorted(maps.Keys(l)) {
		if len(out) == maxLosses {
			note("and %d more kinds of attributes", len(l)-maxLosses)
			break
		}
		note("not restored, because snapshots do not keep it: %s (of %d objects, the first is %q)", what, l[what].objects, l[what].first)
	}
	return out
}

// keepVersions turns versioning on in a bucket that the restore made, where the
// source had it, and says where it is off otherwise. The objects are there by
// then: a server that refuses makes this a warning and no failure.
func (r *restoration) keepVersions(ctx context.Context) []targets.Finding {
	note := func(text string) []targets.Finding {
		return []targets.Finding{{Check: "versioning", Subject: r.in.String(), Severity: targets.Warned, Detail: text}}
	}
	if !r.versioned {
		return nil
	}

	if r.made {
		_, err := r.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{Bucket: r.name,
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
		if err != nil {
			return note(fmt.Sprintf("the bucket that was made could not be given versioning, as the source had it: %v", r.fail(ctx, "turn versioning on", "", err)))
		}
		return nil
	}
	if state, err := r.versioning(ctx); err == nil && state != types.BucketVersioningStatusEnabled {
		return note("versioning is off in the bucket, and the source had it: turn it on before the platform writes")
	}
	return nil
}
