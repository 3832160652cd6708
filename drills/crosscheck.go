package drills

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"drctl/internal/fail"
	"drctl/targets"
)

// CrossCheck runs what spans stores, the sums and the object checks of a
// definition, on restored sandbox instances. The assertions of single shards
// belong to the drivers' own verification. Any instance that is not a sandbox
// is refused before a connection is opened. Failed checks are findings; an
// error means that the checking could not be done.
func CrossCheck(ctx context.Context, def Definition, restored []targets.Instance, p targets.Progress) ([]targets.Finding, error) {
	for _, in := range restored {
		if err := admit(in, in.Kind); err != nil {
			return nil, err
		}
	}
	restored = slices.Clone(restored)
	slices.SortFunc(restored, func(a, b targets.Instance) int { return a.Shard.Compare(b.Shard) })

	var out []targets.Finding
	for i, s := range def.Checks.Sums {
		p.Report("sums", int64(i), int64(len(def.Checks.Sums)))

		f, err := withShards(ctx, restored, s.Target, func(qs []Querier) ([]targets.Finding, error) {
			f, err := RunSum(ctx, s, qs)
			return []targets.Finding{f}, err
		})
		if err != nil {
			return out, err
		}
		out = append(out, f...)
	}

	for _, o := range def.Checks.Objects {
		f, err := withShards(ctx, restored, o.From, func(qs []Querier) ([]targets.Finding, error) {
			return crossObjects(ctx, o, qs, restored, p)
		})
		if err != nil {
			return out, err
		}
		out = append(out, f...)
	}

	return out, nil
}

// withShards connects to every restored PostgreSQL shard of a target.
func withShards(ctx context.Context, restored []targets.Instance, target string, use func([]Querier) ([]targets.Finding, error)) ([]targets.Finding, error) {
	var qs []Querier
	for _, in := range restored {
		if in.Shard.Target != target || in.Kind != targets.Postgres {
			continue
		}

		q, err := ConnectPostgres(ctx, in)
		if err != nil {
			return nil, err
		}
		defer q.Close()
		qs = append(qs, q)
	}

	if len(qs) == 0 {
		return nil, missingTarget(target, targets.Postgres)
	}

	return use(qs)
}

func crossObjects(ctx context.Context, o ObjectCheck, qs []Querier, restored []targets.Instance, p targets.Progress) ([]targets.Finding, error) {
	var stores []Objects
	for _, in := range restored {
		if in.Shard.Target == o.Target && in.Kind == targets.S3 {
			b, err := ConnectBucket(in)
			if err != nil {
				return nil, err
			}
			stores = append(stores, b)
		}
	}

	if len(stores) == 0 {
		return nil, missingTarget(o.Target, targets.S3)
	}
	res, err := RunObjectCheck(ctx, allRows(ctx, qs, o.Query), AnyOf(stores...), ObjectOptions{
		Name: "objects of " + o.Target + " that rows of " + o.From + " name", Query: o.Query, AllowEmpty: o.AllowEmpty, Progress: p})

	return res.Findings, err
}

// allRows runs a query on one shard after the other.
func allRows(ctx context.Context, qs []Querier, sql string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for _, q := range qs {
			for row, err := range q.Rows(ctx, sql) {
				if !yield(row, err) || err != nil {
					return
				}
			}
		}
	}
}

func missingTarget(name string, kind targets.Kind) error {
	return fail.New(fail.Invalid, "drill: check", name, "name a target of the drill's group",
		fmt.Errorf("no %s shard of this target was restored", kind))
}
