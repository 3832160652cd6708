package stream

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/retry"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// Options are an archiver's settings; zero values are the defaults.
type Options struct {
	Set   vault.Set
	Shard targets.ShardID
	// Kind is the kind of the positions that Tail reports for a stream whose
	// origin does not say.
	Kind targets.Kind
	// Region is where the followed instance is; recorded in bases.
	Region string

	ChunkAge    time.Duration // a chunk is closed this long after its first byte; 1 s
	ChunkSize   int           // or when it holds so many bytes; 16 MiB
	MaxBuffered int           // bytes in memory before Write blocks; 128 MiB
	// RetryFor is how long all vaults may fail before the archiver gives up
	// with their error; 1 minute.
	RetryFor time.Duration
	// Lost are the keys of chunks that no vault holds whole; see Lost.
	Lost []string

	Clock      func() time.Time // for the marks in the chunks; time.Now
	Log        *slog.Logger
	OnProgress func(Progress) // called after every chunk, not concurrently; may be nil

	wrap func(*vault.Vault) vault.Store // tests put faults here
}

// Progress is where an archiver stands.
type Progress struct {
	Timeline string `json:"lineage"`
	Received uint64 `json:"received"` // offset up to which bytes came in
	Durable  uint64 `json:"durable"`
	// Chunks and Bytes count what this archiver wrote since it started.
	Chunks int64           `json:"chunks"`
	Bytes  int64           `json:"bytes"`
	Stored int64           `json:"stored"` // Bytes after compression and encryption
	Vaults []VaultProgress `json:"vaults"`
}

// VaultProgress is one vault's part.
type VaultProgress struct {
	Region string `json:"region"`
	Live   bool   `json:"live"`   // gets every chunk at once
	Behind int    `json:"behind"` // objects that it lacks and the others have
	Error  string `json:"error,omitempty"`
}

func (o *Options) defaults() {
	if o.ChunkAge <= 0 {
		o.ChunkAge = time.Second
	}

	if o.ChunkSize <= 0 {
		o.ChunkSize = 16 << 20
	}

	if o.MaxBuffered <= 0 {
		o.MaxBuffered = 128 << 20
	}

	if o.RetryFor <= 0 {
		o.RetryFor = time.Minute
	}

	if o.Clock == nil {
		o.Clock = time.Now
	}

	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}

	if o.wrap == nil {
		o.wrap = func(v *vault.Vault) vault.Store { return v.Store() }
	}
}

// startGrace is how long a vault that is not needed may take to answer at the start.
const startGrace = 5 * time.Second

// NewArchiver starts the archiver of one shard. It lists the vaults, resumes
// at the end of the newest timeline that all of them together hold, and copies
// what one has and another lacks. Vaults that do not answer are left out as
// long as one does; they catch up when they come back, and until then what the
// policy wants them to hold is not durable. Ctx bounds the start only: Close or
// Abort ends the archiver.
func NewArchiver(ctx context.Context, opt Options) (*Archiver, error) {
	opt.defaults()

	const op = "stream: archive"
	if n := len(opt.Set.Vaults) + len(opt.Set.Away); len(opt.Set.Vaults) == 0 || opt.Set.Durability > n {
		return nil, fail.Newf(fail.Invalid, op, opt.Shard.String(), "durability %d with %d vaults", opt.Set.Durability, n)
	}

	for _, n := range []string{opt.Shard.Target, opt.Shard.Shard} {
		if err := vault.ValidName(n); err != nil {
			return nil, err
		}
	}
	a := &Archiver{
		opt: opt, log: opt.Log.With("shard", opt.Shard.String()),
		maxFlight: min(max(1, opt.MaxBuffered/opt.ChunkSize-1), mostFlying),
		advanced:  make(chan struct{}, 1), broken: make(chan struct{}, 1), events: make(chan struct{}, 1),
		changed: make(chan struct{}), known: map[string]standing{}, bad: map[string]bool{}, epoch: 1,
	}

	a.bg, a.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, v := range opt.Set.Vaults {
		a.members = append(a.members, &member{v: v, st: opt.wrap(v)})
	}

	if err := a.start(ctx); err != nil {
		a.Abort()
		return nil, err
	}

	return a, nil
}

func (a *Archiver) start(ctx context.Context) error {
	held, err := a.listAll(ctx)
	if err != nil {
		return err
	}

	absent(held, a.opt.Lost)

	all, missing, err := a.compare(ctx, a.members, held)
	for err == nil {
		bad, verr := a.unreadable(ctx, all, held)
		if err = verr; err != nil || bad == "" {
			break
		}

		for i := range held {
			held[i] = forget(held[i], bad)
		}
		all, missing, err = a.compare(ctx, a.members, held)
	}

	if err != nil {
		return err
	}

	a.resume(all, held, missing)

	if err := a.settle(ctx, held, missing); err != nil {
		return err
	}

	if a.opt.OnProgress != nil {
		a.wg.Go(func() {
			for {
				select {
				case <-a.events:
					a.opt.OnProgress(a.Progress())
				case <-a.bg.Done():
					return
				}
			}
		})
	}

	return nil
}

// listAll reads the outline of every vault in parallel. That of one that did not
// answer is nil. One that fails is tried again until another has answered; one
// that is slow is waited for as long as the policy needs it, and RetryFor at the most.
func (a *Archiver) listAll(ctx context.Context) ([][]timeline.Timeline, error) {
	type result struct {
		i   int
		ls  []timeline.Timeline
		err error
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result, len(a.members))

	// alone ends when one has answered: the others are not tried again.
	alone, answered := context.WithCancel(ctx)
	defer answered()

	for i, m := range a.members {
		go func() {
			ls := []timeline.Timeline{}

			err := retry.Do(alone, retry.Policy{First: minBackoff, Max: maxBackoff, For: a.opt.RetryFor}, func() error {
				found, err := outline(ctx, m.v, m.st, a.opt.Shard)
				if err == nil {
					ls = append(ls, found...)
				}

				return err
			})
			results <- result{i, ls, err}
		}()
	}
	held, good := make([][]timeline.Timeline, len(a.members)), 0

	var last error

	var grace <-chan time.Time
	for n := 0; n < len(a.members); n++ {
		select {
		case r := <-results:
			if r.err != nil {
				last = r.err
				a.log.Warn("vault left out at the start", "vault", a.members[r.i].v.Region(), "err", r.err)

				continue
			}
			held[r.i] = r.ls

			good++
			if good == 1 {
				answered()
				grace = time.After(a.opt.RetryFor)
			}

			if good == a.opt.Set.Need() {
				grace = time.After(startGrace)
			}
		case <-grace:
			return held, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}

	if good == 0 {
		code := fail.CodeOf(last)
		if code == fail.Internal {
			code = fail.Unavailable
		}

		return nil, fail.New(code, "stream: archive", a.opt.Shard.String(), "make a vault reachable", fmt.Errorf("no vault answers: %w", last))
	}

	return held, nil
}

// ends is where the archive of a timeline ends, so that it goes on there.
func (a *Archiver) ends(l timeline.Timeline) uint64 {
	end := l.Offset
	if closed := openRuns(startOf(l, a.opt.Clock()), l.Chunks, l.Holes); len(closed) > 0 {
		end = max(end, closed[len(closed)-1].To)
	}

	return end
}

// unreadable is the key of the chunk with which the newest timeline ends, when no
// vault has it whole: a name alone does not say that the bytes are archived, and
// the sender may still have them.
func (a *Archiver) unreadable(ctx context.Context, all []timeline.Timeline, held [][]timeline.Timeline) (key string, err error) {
	l, ok := timeline.Newest(all)
	if !ok {
		return "", nil
	}
	end := a.ends(l)

	i := slices.IndexFunc(l.Chunks, func(c timeline.Chunk) bool { return c.To == end })
	if i < 0 {
		return "", nil
	}

	var bad, silent error
	for j, m := range a.members {
		mine := timeline.Find(held[j], l.ID)
		if mine == nil || !slices.Contains(mine.Chunks, l.Chunks[i]) {
			continue
		}
		fctx, cancel := context.WithTimeout(ctx, putLimit)
		_, err := NewReader(m.v, a.opt.Shard).fetch(fctx, l.Chunks[i], l.ID)

		cancel()

		switch {
		case err == nil:
			return "", nil
		case fail.Is(err, fail.Corrupt), fail.Is(err, fail.NotFound):
			bad = err
		default:
			silent = err // another vault may tell
		}
	}

	if silent != nil || bad == nil {
		return "", silent
	}

	a.log.Error("the last chunk is damaged; the archive goes on before it", "key", l.Chunks[i].Key, "err", bad)

	return l.Chunks[i].Key, nil
}

// forget takes a chunk out of what was listed, and its timeline when nothing else
// tells of it.
func forget(ls []timeline.Timeline, key string) []timeline.Timeline {
	for i := range ls {
		ls[i].Chunks = slices.DeleteFunc(ls[i].Chunks, func(c timeline.Chunk) bool { return c.Key == key })
	}

	return slices.DeleteFunc(ls, func(l timeline.Timeline) bool { return !l.Origin && len(l.Chunks)+len(l.Holes) == 0 })
}

// resume finds where each timeline ends and which one is current.
func (a *Archiver) resume(all []timeline.Timeline, held [][]timeline.Timeline, missing [][]item) {
	for _, l := range all {
		a.known[l.ID] = standing{tail: a.ends(l), origin: l.Origin, kind: cmp.Or(l.Kind, a.opt.Kind), offset: l.Offset, parent: l.Parent,
			history: l.History, holes: l.Unfilled(), seen: l.LastSeen()}
	}

	newest, ok := timeline.Newest(all)
	if !ok {
		return
	}
	s := a.known[newest.ID]

	s.tail = firstLost(newest, a.opt.Lost, s.tail)
	for _, c := range newest.Chunks {
		if c.To > s.tail {
			s.beyond = append(s.beyond, c)
		}
	}
	a.known[newest.ID] = s

	a.timeline, a.kind, a.tail, a.begun = newest.ID, s.kind, s.tail, true
	for i, m := range a.members {
		m.held = contig{end: a.tail}
		// What this vault alone holds without a hole ends at the first chunk
		// that another one has and it lacks.
		for _, l := range held[i] {
			if l.ID != newest.ID {
				continue
			}
			mine := newest
			mine.Chunks, mine.Holes = l.Chunks, l.Holes

			m.base = min(a.ends(mine), a.tail)
			for _, it := range missing[i] {
				if c, ok := vault.ParseChunkKey(it.key); ok && c.Timeline == newest.ID {
					m.base = min(m.base, c.From)
				}
			}
		}
	}
}

// settle works out what each vault lacks and makes at least one live.
func (a *Archiver) settle(ctx context.Context, held [][]timeline.Timeline, missing [][]item) error {
	a.mu.Lock()

	var best *member
	for i, m := range a.members {
		if held[i] == nil {
			m.scan = true
			continue
		}
		m.missing = missing[i]
		m.older = len(m.missing)
		m.live = m.older == 0
		// What it holds of this timeline counts only with all of those before.
		if slices.ContainsFunc(m.missing, func(it item) bool { return !strings.HasPrefix(it.key, vault.TimelinePrefix(a.opt.Shard, a.timeline)) }) {
			m.base = 0
		}

		if best == nil || len(m.missing) < len(best.missing) {
			best = m
		}
	}
	// Divergent vaults: the one that lacks least is brought up before anything
	// else, so that there is always one that holds everything.
	if !best.live {
		a.leave(best)
	}

	a.recount()
	a.mu.Unlock()

	sctx, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()

	if err := a.wait(sctx, func() bool { return best.live }); err != nil {
		if ctx.Err() == nil && sctx.Err() != nil {
			return fail.Newf(fail.Unavailable, "stream: start", a.opt.Shard.String(), "no vault holds all of the stream, and the vault of %s could not be brought up in %s", best.v.Region(), settleFor)
		}

		return err
	}

	a.mu.Lock()
	defer a.mu.Unlock()

	for _, m := range a.members {
		if !m.live {
			a.leave(m)
		}
	}

	return nil
}

// settleFor is how long a start may take to bring a vault up. What has been
// copied stays; the next start goes on, without a vault that has stopped answering.
const settleFor = 10 * time.Minute

// Base saves an image that the protocol delivered inside the stream as the
// base at a position, and writes its record last.
func (a *Archiver) Base(ctx context.Context, at targets.Position, image io.Reader, settings map[string]string) error {
	started := a.opt.Clock().UTC()
	id := targets.NewID(started)
	// A vault that is away must not keep the server's image from the others: the
	// next backup copies it there.
	set, err := a.opt.Set.Answering(ctx)
	if err != nil {
		return err
	}
	set.Durability = 1

	saved, err := set.Shard(a.opt.Shard).ForBase(id).SaveStream(ctx, "dump.rdb", image, nil)
	if err != nil {
		return err
	}
	kind := cmp.Or(at.Kind, a.opt.Kind)

	_, err = set.SaveBase(ctx, targets.Artifact{
		ID: id, Shard: a.opt.Shard, Kind: kind, Region: a.opt.Region, From: at, Until: at,
		Started: started, Finished: a.opt.Clock().UTC(), Snapshot: saved.Snapshot, Path: saved.Path,
		Settings: settings, Bytes: saved.Bytes, BytesAdded: saved.BytesAdded, Method: "resync", Full: true,
	})
	if err == nil {
		a.log.Info("base saved", "base", id, "timeline", at.Timeline, "offset", at.Offset, "bytes", saved.Bytes)
	}

	return err
}
