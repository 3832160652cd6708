package redis

import (
	"context"
	"io"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// imageName is the file name of the image inside a base's snapshot.
const imageName = "dump.rdb"

// Base takes a full image over a replication connection of its own. After the
// image the server writes SELECT again for every replica. So the stream of any
// other connection can be replayed on this image, from its offset on.
func (d *Driver) Base(ctx context.Context, in targets.Instance, req targets.BaseRequest, to targets.Sink) (targets.Artifact, error) {
	const op = "redis: base"
	started := time.Now().UTC()

	c, err := client(in, 0)
	if err != nil {
		return targets.Artifact{}, err
	}
	defer c.Close()

	m, err := info(ctx, c, "server", "cluster", "replication", "memory")
	if err != nil {
		return targets.Artifact{}, wrap(op, in, err)
	}

	if err := checkVersion(op, in, m); err != nil {
		return targets.Artifact{}, err
	}

	settings, err := sourceSettings(ctx, op, in, c)
	if err != nil {
		return targets.Artifact{}, err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	r, err := connectReplica(ctx, in)
	if err != nil {
		return targets.Artifact{}, wrap(op, in, err)
	}
	defer r.close()

	o, err := r.psync(targets.Position{})
	if err != nil {
		return targets.Artifact{}, wrap(op, in, err)
	}

	if !o.full {
		return targets.Artifact{}, fail.Newf(fail.Corrupt, op, in.String(), "the server offered no full resync")
	}

	req.Progress.Report("save", 0, 0)

	image, err := r.image()
	if err != nil {
		return targets.Artifact{}, wrap(op, in, err)
	}

	total := int64(0)
	if e, ok := image.(*exactReader); ok {
		total = e.left
	}
	counted := &countingReader{r: &magicReader{Reader: imageReader{image, in}, in: in}, f: func(n int64) { req.Progress.Report("copy", n, total) }}

	saved, err := to.SaveStream(ctx, imageName, counted, nil)
	if err != nil {
		return targets.Artifact{}, wrap(op, in, err)
	}
	at := targets.Position{Kind: targets.Redis, Timeline: o.id, Offset: o.offset}

	return targets.Artifact{
		ID: req.ID, Shard: in.Shard, Kind: targets.Redis, Region: in.Region, From: at, Until: at,
		Started: started, Finished: time.Now().UTC(), Snapshot: saved.Snapshot, Path: saved.Path,
		Settings: settings, Bytes: counted.n, BytesAdded: saved.BytesAdded, Method: "resync", Full: true,
	}, nil
}

// countingReader reports how many bytes went through.
type countingReader struct {
	r io.Reader
	n int64
	f func(int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)

	c.n += int64(n)
	if c.f != nil {
		c.f(c.n)
	}

	return n, err
}
