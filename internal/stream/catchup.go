package stream

import (
	"context"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/retry"
	"drctl/internal/timeline"
	"drctl/internal/vault"
)

// copyAtOnce is how many objects a vault that catches up gets at a time.
const copyAtOnce = 4

// leave takes a vault off the live path, unless it is the last one there, and
// brings it up. Callers hold mu.
func (a *Archiver) leave(m *member) {
	if m.live && slices.ContainsFunc(a.members, func(o *member) bool { return o != m && o.live }) {
		a.log.Warn("vault is behind, catching up", "vault", m.v.Region())
		m.live = false
	}

	if !m.catching && a.bg.Err() == nil {
		m.catching = true
		a.wg.Go(func() { a.catchUp(a.bg, m) })
	}
}

// catchUp copies what one vault lacks until it lacks nothing.
func (a *Archiver) catchUp(ctx context.Context, m *member) {
	tries := retry.Policy{First: minBackoff, Max: maxBackoff}.Start()
	for {
		a.mu.Lock()

		if !m.scan && len(m.missing) == 0 || a.err != nil || ctx.Err() != nil {
			m.catching = false
			if a.err == nil && ctx.Err() == nil {
				a.join(m)
			}

			a.mu.Unlock()

			return
		}
		scan := m.scan
		batch := nextBatch(m.missing)

		a.mu.Unlock()

		var err error
		if scan {
			err = a.rescan(ctx, m)
		} else {
			err = a.copyBatch(ctx, m, batch)
		}

		a.mu.Lock()
		a.note(m, err, time.Now())
		a.mu.Unlock()

		if err == nil {
			tries.Reset()
			continue
		}

		_ = tries.Wait(ctx) // the loop sees that ctx has ended
	}
}

// nextBatch is what is copied next: the oldest, and nothing together with the
// first chunk of a timeline that comes after it.
func nextBatch(missing []item) []item {
	n := min(copyAtOnce, len(missing))
	if i := slices.IndexFunc(missing[:n], func(it item) bool { return it.first }); i >= 0 {
		n = i + 1
	}

	return slices.Clone(missing[:n])
}

// join puts a vault that lacks nothing on the live path again, and gives it
// what is on its way to the others. Callers hold mu.
func (a *Archiver) join(m *member) {
	m.live = true
	for _, p := range a.flying {
		if p.encrypted != nil && p.ctx.Err() == nil && !slices.Contains(p.asked, m) {
			a.startPut(p, m)
		}
	}

	a.log.Info("vault is up to date", "vault", m.v.Region())
	a.recount()
	a.signal()
}

// rescan lists a vault and the live ones and notes what it lacks.
func (a *Archiver) rescan(ctx context.Context, m *member) error {
	members := []*member{m}

	a.mu.Lock()

	for _, o := range a.members {
		if o != m && o.live {
			members = append(members, o)
		}
	}

	a.mu.Unlock()

	held := make([][]timeline.Timeline, len(members))
	for i, o := range members {
		var err error
		if held[i], err = outline(ctx, o.v, o.st, a.opt.Shard); err != nil {
			return err
		}
	}

	_, missing, err := a.compare(ctx, members, held)
	if err != nil {
		return err
	}

	a.mu.Lock()
	defer a.mu.Unlock()

	items := missing[0]
	for i := range items {
		items[i].epoch = -1
	}
	m.older += len(items)
	m.missing = append(items, m.missing...)
	m.scan = false

	a.recount()

	return nil
}

// copyBatch copies some of what a vault lacks and notes what it got. Only a
// failure of the vault itself is an error of its own; one of the vaults that
// it copies from is noted with them.
func (a *Archiver) copyBatch(ctx context.Context, m *member, batch []item) error {
	outcomes := make([]outcome, len(batch))

	var g errgroup.Group
	for i, it := range batch {
		g.Go(func() (err error) {
			outcomes[i], err = a.copyOne(ctx, m, it)
			return err
		})
	}
	err := g.Wait()

	of := map[outcome][]item{}
	for i, it := range batch {
		of[outcomes[i]] = append(of[outcomes[i]], it)
	}

	a.mu.Lock()
	defer a.mu.Unlock()

	m.got(of[copied], a.epoch)
	m.waive(of[waived], a.epoch)
	a.recount()
	a.signal()

	return err
}

// outcome is what became of something that a vault lacked.
type outcome int

const (
	missing outcome = iota
	copied
	waived // nobody has it, and the vault can do without
)

// copyOne brings one object from any other vault that has it whole. What no
// vault has whole any more must not hold up everything after it for ever, nor
// count as held: see gone.
func (a *Archiver) copyOne(ctx context.Context, m *member, it item) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, putLimit)
	defer cancel()

	lost, damaged := 0, false
	for _, o := range a.members {
		if o == m {
			continue
		}

		body, err := checkedCopy(ctx, o, it.key)
		if err == nil {
			if err := m.st.Put(ctx, it.key, body); err != nil && !fail.Is(err, fail.Conflict) {
				return missing, err
			}

			return copied, nil
		}

		if fail.Is(err, fail.NotFound) || fail.Is(err, fail.Corrupt) {
			lost++

			if fail.Is(err, fail.Corrupt) {
				damaged = true

				a.mu.Lock()
				a.bad[it.key] = true
				a.mu.Unlock()
				a.log.Error("object is damaged, not copied", "vault", o.v.Region(), "key", it.key, "err", err)
			}

			continue
		}

		a.mu.Lock()
		a.note(o, err, time.Now())
		a.mu.Unlock()
	}
	// A vault that is away may have it whole.
	if lost == len(a.members)-1 && len(a.opt.Set.Away) == 0 {
		ok, err := a.gone(ctx, m, it, damaged)
		if ok {
			return waived, nil
		}

		return missing, err
	}

	_ = retry.Sleep(ctx, time.Second) // the sources fail: do not spin

	return missing, nil
}

// checkedCopy reads an encrypted object as it is stored, after decrypting it to its
// end to check every byte.
func checkedCopy(ctx context.Context, from *member, key string) ([]byte, error) {
	check, _, err := from.v.Decrypt(ctx, key)
	if err != nil {
		return nil, err
	}

	most := int64(timeline.MaxRecord) // of the content
	if c, ok := vault.ParseChunkKey(key); ok {
		most = int64(c.Len())
	}
	n, err := io.Copy(io.Discard, io.LimitReader(check, most+1))
	_ = check.Close()

	if err == nil && n > most {
		err = fail.Newf(fail.Corrupt, "stream: copy", key, "holds more than %d bytes", most)
	}

	if err != nil {
		return nil, err
	}

	r, err := from.st.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	stored := most + most/1000 + 1<<20 // encryption adds less than that

	b, err := io.ReadAll(io.LimitReader(r, stored+1))
	if err != nil {
		return nil, fail.New(fail.Unavailable, "stream: copy", key, "", err)
	}

	if int64(len(b)) > stored {
		return nil, fail.Newf(fail.Corrupt, "stream: copy", key, "is longer than %d bytes as it is stored", stored)
	}

	return b, nil
}
