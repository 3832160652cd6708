package tail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"drctl/internal/fail"
	"drctl/internal/stream"
	"drctl/internal/stream/chunk"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

const (
	op = "keep log"
	// size is how much log goes into one chunk, in bytes.
	size = 16 << 20
)

// Keeper keeps log of one shard in every vault of a set. Each has to take it.
type Keeper struct {
	Set   vault.Set
	Shard targets.ShardID
}

// Lacks returns from where on a vault lacks something of a part of the log; part.To
// when every vault has it all.
func (k Keeper) Lacks(ctx context.Context, part targets.Span) (uint64, error) {
	from := part.To

	for _, v := range k.Set.Vaults {
		at, _, err := k.look(ctx, v, part)
		if err != nil {
			return 0, err
		}
		from = min(from, at)
	}

	return from, nil
}

// look finds the first byte of a part that a vault lacks, and when it got the newest
// that it has of the timeline, or of the shard.
func (k Keeper) look(ctx context.Context, v *vault.Vault, part targets.Span) (at uint64, last time.Time, err error) {
	ls, err := stream.Load(ctx, v, k.Shard)
	if err != nil {
		return 0, last, err
	}

	l := timeline.Find(ls, part.Timeline)
	if l == nil {
		for _, o := range ls {
			if t := o.LastSeen(); last.IsZero() || t.Before(last) {
				last = t
			}
		}

		return part.From, last, nil
	}

	if _, gaps := timeline.Cover(l.Chunks, part.From, part.To); len(gaps) > 0 {
		return gaps[0].From, l.LastSeen(), nil
	}

	return part.To, l.LastSeen(), nil
}

// Keep stores a part of the log, which is read to its end, and looks whether it is
// there then. Where a vault has some of it, that is stored twice and harms nobody.
func (k Keeper) Keep(ctx context.Context, part targets.Span, log io.Reader) error {
	if len(k.Set.Vaults) == 0 {
		return fail.Newf(fail.Unavailable, op, k.Shard.String(), "no vault can be reached")
	}

	// By this clock a timeline's place among the others is known: it must not move.
	stamps := make([]time.Time, len(k.Set.Vaults))

	for i, v := range k.Set.Vaults {
		_, last, err := k.look(ctx, v, part)
		if err != nil {
			return err
		}

		if stamps[i] = last.UTC().Truncate(time.Millisecond); last.IsZero() {
			stamps[i] = time.Now().UTC().Truncate(time.Millisecond)
		}
	}

	buf := make([]byte, min(size, part.To-part.From))
	for from := part.From; from < part.To; {
		b := buf[:min(size, part.To-from)]

		if _, err := io.ReadFull(log, b); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}

			return fail.New(fail.CodeOf(err), op, k.Shard.String(), "", fmt.Errorf("the log could not be read at %d: %w", from, err))
		}

		for i, v := range k.Set.Vaults {
			if err := k.put(ctx, v, part.Timeline, from, b, stamps[i]); err != nil {
				return err
			}
		}
		from += uint64(len(b))
	}

	if at, err := k.Lacks(ctx, part); err != nil || at < part.To {
		return fail.New(fail.Unverified, op, k.Shard.String(), "", errors.Join(err, fmt.Errorf("it was stored, and from %d on it is not there", at)))
	}

	return nil
}

func (k Keeper) put(ctx context.Context, v *vault.Vault, id string, from uint64, b []byte, at time.Time) error {
	to := from + uint64(len(b))
	h := chunk.Header{Shard: k.Shard, Timeline: id, From: from, To: to, Opened: at, Closed: at, Marks: []chunk.Mark{{At: at, Offset: to}}}

	_, err := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}.PutEncrypted(ctx, vault.ChunkKey(k.Shard, id, from, to, at), h.Meta(), b)

	return err
}
