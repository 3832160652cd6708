package stream

import (
	"context"
	"fmt"
	"time"

	"drctl/internal/fail"
	"drctl/internal/stream/chunk"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// Check reports whether a vault holds the whole stream from one position to
// another: one finding per range, "FOUND" (passed), "MISSING" (failed) or "HOLE"
// (warned), in order. A hole is what the server had lost before it was archived,
// as the archive says itself: it is no damage, but only a base behind it leads to
// what follows. Check looks at names only; reading the bytes is the reader's and
// the vault check's part. An error means that the vault could not be listed.
func Check(ctx context.Context, v *vault.Vault, shard targets.ShardID, from, to targets.Position) ([]targets.Finding, error) {
	ls, err := Load(ctx, v, shard)
	if err != nil {
		return nil, err
	}

	return check(ls, v.Region(), shard, from, to), nil
}

// check is the pure part of Check.
func check(ls []timeline.Timeline, region string, shard targets.ShardID, from, to targets.Position) []targets.Finding {
	subject := shard.String() + "@" + region

	finding := func(id string, a, b uint64, sev targets.Severity, got, detail string) targets.Finding {
		return targets.Finding{Check: "stream-contiguous", Subject: subject, Severity: sev,
			Expected: fmt.Sprintf("timeline %s bytes [%d,%d)", id, a, b), Got: got, Detail: detail}
	}
	if from.Timeline == to.Timeline && from.Offset == to.Offset {
		return []targets.Finding{finding(to.Timeline, to.Offset, to.Offset, targets.Passed, "FOUND", "no stream needed")}
	}
	byID := timeline.NewIndex(ls)

	spans, err := byID.SpansOverLoss(from, to)
	if err != nil {
		return []targets.Finding{finding(to.Timeline, from.Offset, to.Offset, targets.Failed, "MISSING", err.Error())}
	}

	var out []targets.Finding
	for _, s := range spans {
		use, gaps := timeline.Cover(byID[s.Timeline].Chunks, s.From, s.To)

		pos := s.From
		for _, g := range gaps {
			if g.From > pos {
				out = append(out, finding(s.Timeline, pos, g.From, targets.Passed, "FOUND", ""))
			}

			for _, part := range byID[s.Timeline].Split(g) {
				if part.Declared {
					out = append(out, finding(s.Timeline, part.From, part.To, targets.Warned, "HOLE",
						"the server had lost these bytes before they were archived; a base behind them leads on"))

					continue
				}
				out = append(out, finding(s.Timeline, part.From, part.To, targets.Failed, "MISSING",
					fmt.Sprintf("no chunk holds these bytes: %s%016X-%016X-...", vault.TimelinePrefix(shard, s.Timeline), part.From, part.To)))
			}
			pos = g.To
		}

		if pos < s.To {
			out = append(out, finding(s.Timeline, pos, s.To, targets.Passed, "FOUND", fmt.Sprintf("%d chunks", len(use))))
		}
	}

	return out
}

const (
	// lookAhead is how many chunks closed after an instant can have been open at it.
	lookAhead = 4
	// mostQuiet is how long an archiver that is connected receives nothing at the
	// most: a Redis master pings its replicas every 10 s.
	mostQuiet = 15 * time.Second
	// pause and burst tell an archiver that caught up from a store with little
	// traffic: more than burst bytes at once after more than pause of silence
	// were not all written in that moment.
	pause = 2 * time.Second
	burst = 4 << 10
)

// OffsetAt turns a wall-clock time of the archiver's host into an offset: the
// greatest offset of the timeline such that every byte below it had been
// received at or before t (to about 100 ms, never late).
//
// Receipt is only a bound for when bytes were written, so it refuses where the
// archiver was not receiving at t: fail.NotFound when nothing had been received
// by then or nothing was received after it, fail.Conflict in a silence that no
// connected store makes or that a burst of bytes ended. An outage of less than
// mostQuiet in which the store wrote less than burst looks like idleness.
func OffsetAt(ctx context.Context, v *vault.Vault, shard targets.ShardID, id string, t time.Time) (uint64, error) {
	const op, choose = "stream: offset at a time", "choose another instant, or a named cut (drctl cut list)"
	subject := shard.String() + " timeline " + id

	chunks, _, err := listTimeline(ctx, v.Store(), shard, id, "")
	if err != nil {
		return 0, err
	}

	timeline.SortChunks(chunks)
	t = t.Truncate(time.Millisecond)
	// All of a chunk that was closed by t had been received by t. Of those that
	// were closed later only the ones open at t matter, and the one after them.
	done := -1
	for i, c := range chunks {
		if !c.Closed.After(t) && (done < 0 || c.To >= chunks[done].To) {
			done = i
		}
	}

	look := chunks
	if done >= 0 {
		look = chunks[done:]
	}
	var before, after chunk.Mark // the last receipt by t, the first one later

	end := uint64(0)
	for i, seen := 0, 0; i < len(look) && seen < lookAhead && after.At.IsZero(); i++ {
		c := look[i]
		if i > 0 && c.To <= end {
			continue
		}

		if i > 0 && c.From > end {
			return 0, fail.New(fail.NotFound, op, subject, choose, fmt.Errorf("no chunk holds bytes %s", timeline.Gap{From: end, To: c.From}))
		}

		seen++
		end = c.To

		r, meta, err := v.Decrypt(ctx, c.Key)
		if err != nil {
			return 0, err
		}
		_ = r.Close()

		h, err := chunk.Parse(c.Key, meta)
		if err != nil {
			return 0, err
		}

		for _, m := range h.Marks {
			if m.At.After(t) {
				if m.Offset > before.Offset {
					after = m
					break
				}
			} else if m.Offset >= before.Offset {
				before = m
			}
		}
	}

	stamp := func(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }
	switch quiet := after.At.Sub(before.At); {
	case before.At.IsZero():
		return 0, fail.New(fail.NotFound, op, subject, "choose a later instant", fmt.Errorf("nothing had been archived at %s", stamp(t)))
	case after.At.IsZero():
		return 0, fail.New(fail.NotFound, op, subject, choose, fmt.Errorf("the archive ends at %s, before %s", stamp(before.At), stamp(t)))
	case quiet > mostQuiet, quiet > pause && after.Offset-before.Offset > burst:
		return 0, fail.New(fail.Conflict, op, subject, choose,
			fmt.Errorf("the archiver received nothing from %s to %s, then %d bytes: which of them were written by %s is not known",
				stamp(before.At), stamp(after.At), after.Offset-before.Offset, stamp(t)))
	}

	return before.Offset, nil
}
