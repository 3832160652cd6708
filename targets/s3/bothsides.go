package s3

import (
	"context"
	"iter"

	"drctl/internal/fail"
	"drctl/internal/s3client"
	"drctl/targets"
	"drctl/targets/reconciliation"
	"drctl/targets/s3/reconcile"
)

// Reconcile implements reconciliation.Reconciler. Two instances that name one bucket have nothing to reconcile.
func (d *Driver) Reconcile(ctx context.Context, a, b targets.Instance, req reconciliation.Request) (reconciliation.Result, error) {
	none := reconciliation.Result{Shard: a.Shard, A: a.Region, B: b.Region, DryRun: req.DryRun, Note: "both regions use one bucket"}
	if s3client.URL(a.Address) == s3client.URL(b.Address) && a.Database == b.Database {
		return none, nil
	}

	if a.Prefix != b.Prefix {
		return none, fail.Newf(fail.Unsupported, "s3: reconcile", a.Shard.String(), "its keys begin with %q in %s and with %q in %s", a.Prefix, a.Region, b.Prefix, b.Region)
	}

	sides, unnamed := []reconcile.Bucket{}, [2]int64{}

	for i, in := range []targets.Instance{a, b} {
		x, err := open(ctx, in)
		if err != nil {
			return none, err
		}
		defer x.close()

		versioning, err := x.versioning(ctx)
		if err != nil {
			return none, err
		}
		x.unnamed = func(listed) { unnamed[i]++ }
		sides = append(sides, &reconcile.Store{Client: x.Client, Region: in.Region, Bucket: in.Database, Prefix: in.Prefix, Versioned: versioning != "",
			Listing: func(ctx context.Context) iter.Seq2[reconcile.Object, error] {
				unnamed[i] = 0 // it is listed more than once
				return x.listing(ctx)
			}, Headers: headers, Input: putInput, Fail: x.fail})
	}

	out, err := reconcile.Run(ctx, sides[0], sides[1], req)
	out.Shard, out.Unnamed = a.Shard, unnamed[0]+unnamed[1]

	return out, err
}

// listing lists the objects that are there now.
func (b *bucket) listing(ctx context.Context) iter.Seq2[reconcile.Object, error] {
	return func(yield func(reconcile.Object, error) bool) {
		for l, err := range b.current(ctx) {
			if !yield(reconcile.Object{Key: l.Key, State: reconciliation.State{ETag: l.ETag, Size: l.Size, Modified: l.Modified}}, err) || err != nil {
				return
			}
		}
	}
}
