package s3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"drctl/internal/fail"
	"drctl/internal/s3client"
	"drctl/internal/servers"
	"drctl/targets"
)

// Options are what a driver needs.
type Options struct {
	Tools servers.Binaries // for restores into a sandbox
	Log   *slog.Logger     // nil: nothing is logged
	Now   func() time.Time // nil: time.Now
	// Detached lets the servers of sandboxes outlive this process.
	Detached bool
	// TempDir holds the manifest while it is written; "" is the system's.
	TempDir string
}

// Driver is the driver of object stores. It is safe for concurrent use.
type Driver struct {
	opt Options
}

var (
	_ targets.Driver      = (*Driver)(nil)
	_ targets.Quiescer    = (*Driver)(nil)
	_ targets.Snapshotter = (*Driver)(nil)
)

// New makes a driver.
func New(opt Options) *Driver {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Driver{opt: opt}
}

// Kind is targets.S3.
func (d *Driver) Kind() targets.Kind { return targets.S3 }

// Base is unsupported: Snapshot takes its place.
func (d *Driver) Base(_ context.Context, in targets.Instance, _ targets.BaseRequest, _ targets.Sink) (targets.Artifact, error) {
	return targets.Artifact{}, fail.New(fail.Unsupported, "s3: base", in.String(), "every cut takes a snapshot of the objects",
		errors.New("an object store has no base"))
}

// Probe reports whether the bucket answers, its versioning and its clock. Size
// is known for buckets of up to 10,000 objects; counting more costs too much.
func (d *Driver) Probe(ctx context.Context, in targets.Instance) (targets.Status, error) {
	return d.probe(ctx, in, (*bucket).measure)
}

// Reach is Probe without the size: one object is listed, because that may be denied.
func (d *Driver) Reach(ctx context.Context, in targets.Instance) (targets.Status, error) {
	return d.probe(ctx, in, (*bucket).listOne)
}

func (d *Driver) probe(ctx context.Context, in targets.Instance, list func(*bucket, context.Context, *targets.Status) error) (targets.Status, error) {
	b, err := open(ctx, in)
	if err != nil {
		return targets.Status{}, err
	}
	defer b.close()
	clk, err := b.head(ctx, "probe", d.opt.Now)
	if err != nil {
		return targets.Status{}, err
	}
	versioning, err := b.versioning(ctx)
	if err != nil {
		return targets.Status{}, err
	}
	now := d.opt.Now().UTC()
	st := targets.Status{Reachable: true, Writable: in.Role != targets.Standby, Role: in.Role, Version: "S3",
		Position: targets.Position{Kind: targets.S3, AsOf: now}, Checked: now}
	switch versioning {
	case types.BucketVersioningStatusEnabled:
		st.Version = "S3, versioned"
	case types.BucketVersioningStatusSuspended:
		st.Warnings = append(st.Warnings, "versioning of the bucket is suspended: a snapshot holds what objects written since then are when they are read, not what they were at the cut")
	default:
		st.Warnings = append(st.Warnings, "the bucket is not versioned: a snapshot holds what objects are when they are read, not what they were at the cut")
	}
	if s := clk.skew(); s != 0 {
		st.Warnings = append(st.Warnings, skewText(s))
	}
	err = list(b, ctx, &st)
	return st, err
}

func (b *bucket) listOne(ctx context.Context, _ *targets.Status) error {
	in := &awss3.ListObjectsV2Input{Bucket: b.name, MaxKeys: aws.Int32(1)}
	if b.in.Prefix != "" {
		in.Prefix = aws.String(b.in.Prefix)
	}
	_, err := b.ListObjectsV2(ctx, in)
	return b.fail(ctx, "list", "", err)
}

// measure adds up the sizes of a small bucket, 0 for a large one, and warns of
// objects that no cut holds.
func (b *bucket) measure(ctx context.Context, st *targets.Status) error {
	unnamed := 0
	b.unnamed = func(l listed) {
		if unnamed++; unnamed == 1 {
			st.Warnings = append(st.Warnings, "the server cannot name the key of the object that it shows as "+l.shown()+": no cut holds it; rename it with the program that made it")
		}
	}
	defer func() {
		if unnamed > 1 {
			st.Warnings = append(st.Warnings, fmt.Sprintf("the same goes for %d more objects", unnamed-1))
		}
	}()
	n, total := 0, int64(0)
	for o, err := range b.current(ctx) {
		if err != nil {
			return err
		}
		if n++; n > 10_000 {
			return nil
		}
		total += o.Size
	}
	st.Bytes = total
	return nil
}

func skewText(s time.Duration) string {
	way := "ahead of"
	if s < 0 {
		way, s = "behind", -s
	}
	return fmt.Sprintf("the server's clock is %s %s this host's", s.Round(time.Second), way)
}

// versioning reports whether the bucket keeps versions (enabled), has kept them
// (suspended), or neither ("").
func (b *bucket) versioning(ctx context.Context) (types.BucketVersioningStatus, error) {
	out, err := b.GetBucketVersioning(ctx, &awss3.GetBucketVersioningInput{Bucket: b.name})
	if err != nil {
		// Servers without versioning say so in several ways.
		if code, name := s3client.Status(err); code == 501 || code == 405 || name == "VersioningNotConfigured" {
			return "", nil
		}
		return "", b.fail(ctx, "read versioning", "", err)
	}
	return out.Status, nil
}

// Join checks that the bucket answers. Nothing of an object store is locked: the
// mark is an instant, and objects are read after it.
func (d *Driver) Join(ctx context.Context, in targets.Instance, req targets.JoinRequest) (targets.Member, error) {
	if req.Gate {
		return nil, fail.New(fail.Unsupported, "s3: join cut", in.String(), "name a postgres shard as the gate", errors.New("a bucket cannot hold the gate"))
	}
	b, err := open(ctx, in)
	if err != nil {
		return nil, err
	}
	defer b.close()
	clk, err := b.head(ctx, "join cut", d.opt.Now)
	if err != nil {
		return nil, err
	}
	if s := clk.skew(); s != 0 {
		d.opt.Log.WarnContext(ctx, "clock skew", "shard", in.Shard.String(), "region", in.Region, "skew", s.Round(time.Second).String())
	}
	return &member{in: in, now: d.opt.Now}, nil
}

type member struct {
	in  targets.Instance
	now func() time.Time
}

func (m *member) LockGate(context.Context, time.Duration) error {
	return fail.Newf(fail.Unsupported, "s3: lock gate", m.in.String(), "a bucket cannot hold the gate")
}

func (m *member) Lock(context.Context, time.Duration) error { return nil }

func (m *member) Unlock(context.Context) error { return nil }

// Mark is the instant by this host's clock; no I/O happens inside a barrier.
func (m *member) Mark(context.Context) (targets.Position, error) {
	return targets.Position{Kind: targets.S3, AsOf: m.now().UTC()}, nil
}

func (m *member) Release(context.Context) error { return nil }
func (m *member) Settle(context.Context) error  { return nil }
func (m *member) Close()                        {}
