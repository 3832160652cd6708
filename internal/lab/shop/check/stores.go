package check

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"drctl/internal/lab/shop/stores"
)

// cartBounds is the range in which a cart's sequence number must be.
func (k *checker) cartBounds(writes []cartWrite) (low, high int64) {
	begun, first := false, writes[0].seq
	for _, w := range writes {
		first = min(first, w.seq)
		if w.ack > 0 && w.ack < k.quiesced {
			low = max(low, w.seq)
		}

		if w.commit <= k.released {
			begun, high = true, max(high, w.seq)
		}
	}

	if !begun {
		high = first - 1 // what an earlier journal's writes may have left
	}

	return low, high
}

// checkCarts is rule (h), with the hash against its own sequence number: both
// are written in one MULTI.
func (k *checker) checkCarts(ctx context.Context) error {
	clients := make([]*redis.Client, len(k.Redis))
	for i, in := range k.Redis {
		c, err := stores.OpenRedis(in)
		if err != nil {
			return err
		}
		defer c.Close()
		clients[i] = c
	}

	for cart, writes := range k.ops.carts {
		in := k.Redis[(cart-1)%len(k.Redis)]
		var seq, hash *redis.StringCmd

		_, err := clients[(cart-1)%len(k.Redis)].TxPipelined(ctx, func(p redis.Pipeliner) error {
			seq, hash = p.Get(ctx, stores.CartKey(cart)+":seq"), p.HGet(ctx, stores.CartKey(cart), "seq")
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) {
			return stores.Failure("shop: check carts", in, err)
		}

		at, err := number(seq)
		if err != nil {
			return stores.Failure("shop: check carts", in, err)
		}
		k.carts[cart] = at
		low, high := k.cartBounds(writes)
		subject := stores.CartKey(cart) + " on " + in.String()

		k.checked(RuleCarts, 1)

		switch {
		case at < low:
			k.violation(RuleCarts, subject, "it is at change %d, and change %d was acknowledged before the barrier", at, low)
		case at > high:
			k.violation(RuleCarts, subject, "it is at change %d, and the last one begun before the release is %d", at, high)
		case hash.Val() != seq.Val():
			k.violation(RuleCarts, subject, "its contents are of change %q and its number is %q", hash.Val(), seq.Val())
		}
	}

	for i, c := range clients {
		if err := k.strayKeys(ctx, i, c); err != nil {
			return stores.Failure("shop: check carts", k.Redis[i], err)
		}
	}

	return nil
}

// strayKeys looks for keys that are of no journaled cart of this master. The
// marks of cuts are not the shop's.
func (k *checker) strayKeys(ctx context.Context, master int, c *redis.Client) error {
	it := c.Scan(ctx, 0, "*", 1000).Iterator()

	seen := map[string]bool{} // a scan may give a key twice
	for it.Next(ctx) {
		key := it.Val()
		if seen[key] || strings.HasPrefix(key, "drctl:") {
			continue
		}
		seen[key] = true

		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(key, "cart:"), ":seq"))
		if err != nil || len(k.ops.carts[n]) == 0 || (n-1)%len(k.Redis) != master || key != stores.CartKey(n) && key != stores.CartKey(n)+":seq" {
			k.violation(RuleCarts, key+" on "+k.Redis[master].String(), "no journal has a change of it")
		}
	}

	return it.Err()
}

// number is a value as a number; 0 when there is none.
func number(c *redis.StringCmd) (int64, error) {
	if errors.Is(c.Err(), redis.Nil) {
		return 0, nil
	}

	if c.Err() != nil {
		return 0, c.Err()
	}

	return strconv.ParseInt(c.Val(), 10, 64)
}

// checkImages is rule (i).
func (k *checker) checkImages(ctx context.Context, found []*shardState) error {
	c := stores.OpenMedia(k.Media, 3)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(k.Parallel)

	for _, s := range found {
		for key, row := range s.images {
			g.Go(func() error { return k.checkImage(gctx, c, key, row) })
		}
	}

	return g.Wait()
}

func (k *checker) checkImage(ctx context.Context, c *s3.Client, key string, row imageRow) error {
	k.checked(RuleImages, 1)
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &k.Media.Database, Key: &key})

	var none *types.NoSuchKey
	if errors.As(err, &none) {
		k.violation(RuleImages, key, "a row names it and it is not in %s", k.Media)
		return nil
	}

	if err != nil {
		return stores.Failure("shop: check image "+key, k.Media, err)
	}

	defer out.Body.Close()
	sum := sha256.New()

	size, err := io.Copy(sum, out.Body)
	if err != nil {
		return stores.Failure("shop: check image "+key, k.Media, err)
	}

	if got := hex.EncodeToString(sum.Sum(nil)); got != row.sha || size != row.size {
		k.violation(RuleImages, key, "its row says %d bytes of SHA-256 %s, and it has %d of %s", row.size, row.sha, size, got)
	}

	return nil
}
