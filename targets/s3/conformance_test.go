package s3

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/targettest"
)

func conformance(wrap func(*Driver) targets.Driver) targettest.Kit {
	return targettest.Kit{
		Driver: func(t testing.TB, log *slog.Logger) targets.Driver {
			return wrap(New(Options{Tools: sandboxtest.Tools(t), Log: log}))
		},
		Start: func(t testing.TB) targets.Instance { return sandboxtest.S3(t, true) },
		Put: func(t testing.TB, in targets.Instance, name string) error {
			b := openTest(t, in)
			_, err := b.Client.PutObject(context.Background(), &awss3.PutObjectInput{Bucket: b.name, Key: &name, Body: strings.NewReader(strings.Repeat(name, 100))})
			return err
		},
		Names: func(t testing.TB, in targets.Instance) []string {
			b := openTest(t, in)
			out, err := b.ListObjectsV2(context.Background(), &awss3.ListObjectsV2Input{Bucket: b.name})
			b.must(t, err)
			var names []string
			for _, o := range out.Contents {
				names = append(names, *o.Key)
				if got := b.read(t, *o.Key); got != strings.Repeat(*o.Key, 100) {
					t.Errorf("object %s holds %.20q", *o.Key, got)
				}
			}
			return names
		},
		Empty: func(t testing.TB) targets.Instance { return sandboxOf(t) },
		Stop:  kill,
		Apart: Slack + 1100*time.Millisecond,
		Damage: func(t testing.TB, in targets.Instance) {
			file := filepath.Join(in.DataDir, "data", in.Database, "b")
			if err := os.WriteFile(file, []byte("x"+strings.Repeat("b", 99)), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	targettest.Run(t, conformance(func(d *Driver) targets.Driver { return d }))
}

// Drivers that are broken on purpose: the suite must see each.
type (
	liar    struct{ *Driver } // a restore that could not be done claims success
	partial struct{ *Driver } // a snapshot without one of its objects is one
	late    struct{ *Driver } // a snapshot is of now, whatever instant is asked for
	blind   struct{ *Driver } // a check fails nothing
)

func (d liar) Restore(ctx context.Context, in targets.Instance, req targets.RestoreRequest, from targets.Source) (targets.Outcome, error) {
	out, err := d.Driver.Restore(ctx, in, req, from)
	if err != nil {
		return targets.Outcome{Reached: req.Point}, nil
	}

	return out, nil
}

func (d partial) Snapshot(ctx context.Context, in targets.Instance, asOf time.Time, to targets.ObjectSink, p func(targets.SnapshotStats)) (targets.Position, targets.SnapshotStats, error) {
	at, st, err := d.Driver.Snapshot(ctx, in, asOf, to, p)
	if err != nil {
		at.Manifest, err = to.PutManifest(ctx, asOf, strings.NewReader(""))
	}

	return at, st, err
}

func (d late) Snapshot(ctx context.Context, in targets.Instance, _ time.Time, to targets.ObjectSink, p func(targets.SnapshotStats)) (targets.Position, targets.SnapshotStats, error) {
	return d.Driver.Snapshot(ctx, in, time.Now().Add(time.Minute), to, p)
}

func (d blind) Verify(ctx context.Context, in targets.Instance, want targets.Expectation) ([]targets.Finding, error) {
	fs, err := d.Driver.Verify(ctx, in, want)
	return slices.DeleteFunc(fs, func(f targets.Finding) bool { return f.Severity == targets.Failed }), err
}

func TestConformanceCatchesBrokenDrivers(t *testing.T) {
	t.Parallel()

	for name, x := range map[string]struct {
		check string
		wrap  func(*Driver) targets.Driver
	}{
		"liar":    {"restore from a faulty source", func(d *Driver) targets.Driver { return liar{d} }},
		"partial": {"snapshot that cannot be stored", func(d *Driver) targets.Driver { return partial{d} }},
		"late":    {"restore brings back what was at the point", func(d *Driver) targets.Driver { return late{d} }},
		"blind":   {"verify finds damage", func(d *Driver) targets.Driver { return blind{d} }},
	} {
		t.Run(name, func(t *testing.T) { targettest.Catches(t, conformance(x.wrap), x.check) })
	}
}
