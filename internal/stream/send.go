package stream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/retry"
)

const (
	// handover is after how long of failing a vault leaves the live path when
	// another vault holds the chunk.
	handover = time.Second
	// slowAfter is after how long a vault that is merely slow leaves it when
	// the window is full.
	slowAfter = 5 * time.Second
	// putLimit bounds one attempt to store or read one object.
	putLimit   = 45 * time.Second
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// parcel is an object on its way.
type parcel struct {
	item
	meta    map[string]string
	content []byte
	// anyContent accepts whatever another archiver stored under the key.
	anyContent bool

	encrypted []byte
	sent      time.Time
	ctx       context.Context // of the puts
	cancel    context.CancelFunc
	has       []*member
	asked     []*member
	waiting   int // puts under way
}

// send starts a parcel. Callers hold mu.
func (a *Archiver) send(p *parcel) {
	p.ctx, p.cancel = context.WithCancel(a.bg)
	p.sent = time.Now()
	p.waiting = 1 // the encryption
	a.flying = append(a.flying, p)
	a.wg.Go(func() {
		encrypted, err := a.members[0].v.Encrypt(p.key, p.meta, p.content)

		a.mu.Lock()
		defer a.mu.Unlock()

		if err != nil {
			a.giveUp(err)
		} else {
			p.encrypted = encrypted
			for _, m := range a.members {
				if m.live {
					a.startPut(p, m)
				}
			}
		}

		a.arrive(p)
	})
}

// startPut puts an encrypted parcel into one vault. Callers hold mu.
func (a *Archiver) startPut(p *parcel, m *member) {
	p.waiting++
	p.asked = append(p.asked, m)
	a.wg.Go(func() {
		ok := a.put(p, m)

		a.mu.Lock()
		defer a.mu.Unlock()

		if ok {
			p.has = append(p.has, m)
			if p.epoch == a.epoch {
				m.held.add(p.from, p.to)
			}

			a.recount()
		}

		a.arrive(p)
	})
}

// arrive ends one activity of a parcel and, after the last one, the parcel:
// the vaults that did not get it are to catch up. Callers hold mu.
func (a *Archiver) arrive(p *parcel) {
	if p.waiting--; p.waiting > 0 {
		return
	}

	p.cancel()

	if len(p.has) == 0 {
		return // given up or ended: the parcel stays, nothing was lost silently
	}

	a.flying = slices.DeleteFunc(a.flying, func(q *parcel) bool { return q == p })
	if p.to > p.from {
		a.chunks++
		a.bytes += int64(len(p.content))
		a.stored += int64(len(p.encrypted))
	}

	for _, m := range a.members {
		if !slices.Contains(p.has, m) {
			m.lack(p.item, a.epoch)
			a.leave(m)
		}
	}

	if a.cur != nil && (a.cur.due || len(a.cur.buf) >= a.opt.ChunkSize) {
		a.rotate()
	}

	a.signal()
}

// put stores a parcel in one vault, trying again until it is there, another
// vault has it and this one goes on failing, or the archiver ends.
func (a *Archiver) put(p *parcel, m *member) bool {
	var first time.Time
	for tries := (retry.Policy{First: minBackoff, Max: maxBackoff}).Start(); ; {
		ctx, cancel := context.WithTimeout(p.ctx, putLimit)

		err := m.st.Put(ctx, p.key, p.encrypted)
		if fail.Is(err, fail.Conflict) {
			err = a.sameContent(ctx, p, m)
		}

		cancel()
		now := time.Now()

		a.mu.Lock()

		if a.note(m, err, now); err == nil {
			a.mu.Unlock()
			return true
		}

		if fail.Is(err, fail.Corrupt) {
			a.giveUp(err)
		}

		if first.IsZero() {
			first = now
		}

		if len(p.has) == 0 && now.Sub(first) > a.opt.RetryFor {
			a.giveUp(a.unavailable(err))
		}
		stop := p.ctx.Err() != nil || a.err != nil || len(p.has) > 0 && now.Sub(first) > handover
		a.mu.Unlock()

		if stop || tries.Wait(p.ctx) != nil {
			return false
		}
	}
}

// sameContent finds out what is under a key that exists already: this parcel,
// stored by an attempt whose answer was lost or by another archiver, or
// something else.
func (a *Archiver) sameContent(ctx context.Context, p *parcel, m *member) error {
	if p.anyContent {
		return nil
	}

	r, _, err := m.v.Decrypt(ctx, p.key)
	if err != nil {
		return err
	}
	defer r.Close()

	b, err := io.ReadAll(io.LimitReader(r, int64(len(p.content))+1)) // longer is other content
	if err != nil {
		return err
	}

	if !bytes.Equal(b, p.content) {
		return fail.New(fail.Corrupt, "stream: archive", p.key, "two different streams call themselves the same timeline: see whether two servers claim to be this shard's primary",
			fmt.Errorf("vault %s holds other bytes under this name", m.v.Region()))
	}

	return nil
}

// note keeps a vault's record of failures and ends the archiver when every
// vault has failed for too long. As long as one takes what comes, archiving goes
// on, whatever the policy asks for: less is durable then, not less is kept.
// Callers hold mu.
func (a *Archiver) note(m *member, err error, now time.Time) {
	if err == nil {
		if !m.failing.IsZero() {
			a.log.Info("vault answers again", "vault", m.v.Region(), "failed_for", now.Sub(m.failing).Round(time.Millisecond))
		}
		m.failing, m.lastErr = time.Time{}, nil

		return
	}

	if a.bg.Err() != nil {
		return
	}

	m.lastErr = err
	if m.failing.IsZero() {
		m.failing = now
	}

	if now.Sub(m.lastLogged) > 10*time.Second {
		m.lastLogged = now
		a.log.Warn("vault fails, trying again", "vault", m.v.Region(), "since", m.failing.UTC(), "err", err)
	}

	if !slices.ContainsFunc(a.members, func(o *member) bool { return o.failing.IsZero() || now.Sub(o.failing) <= a.opt.RetryFor }) {
		a.giveUp(a.unavailable(err))
	}
}

// unavailable names every failing vault. Callers hold mu.
func (a *Archiver) unavailable(err error) error {
	var regions []string
	for _, m := range a.members {
		if !m.failing.IsZero() {
			regions = append(regions, m.v.Region())
		}
	}

	code := fail.CodeOf(err)
	if code == fail.Internal {
		code = fail.Unavailable
	}

	return fail.New(code, "stream: archive", a.opt.Shard.String(), "make the vault reachable; nothing that the server was told to be safe is lost",
		fmt.Errorf("vault %s failed for longer than %s: %w", strings.Join(regions, ", "), a.opt.RetryFor, err))
}

// dropSlow lets the oldest parcel go on without vaults that are slow, when one
// vault has it. Callers hold mu.
func (a *Archiver) dropSlow() {
	for _, p := range a.flying {
		if len(p.has) > 0 && time.Since(p.sent) > slowAfter {
			p.cancel()
		}
	}
}

// recount moves durable. Nothing is while fewer vaults can be reached than the
// policy asks for. Callers hold mu.
func (a *Archiver) recount() {
	if len(a.members) < a.opt.Set.Need() {
		return
	}

	ends := make([]uint64, len(a.members))
	for i, m := range a.members {
		ends[i] = m.end()
	}

	slices.Sort(ends)
	slices.Reverse(ends)

	if d := ends[a.opt.Set.Need()-1]; d > a.durable {
		a.durable = d
		select {
		case a.advanced <- struct{}{}:
		default:
		}

		a.signal()
	}
}

// putRecord stores the record of an origin or a hole; one that exists stays as
// it is. It returns when a vault holds it, and the others do or catch up.
func (a *Archiver) putRecord(ctx context.Context, key string, r record) error {
	a.mu.Lock()
	err := a.sendRecord(key, r)
	a.mu.Unlock()

	if err != nil {
		return err
	}

	return a.recorded(ctx)
}

// record is a timeline.Record or a timeline.Hole.
type record interface{ Encode() ([]byte, error) }

// sendRecord sends off a record. Callers hold mu.
func (a *Archiver) sendRecord(key string, r record) error {
	b, err := r.Encode()
	if err != nil {
		return fail.New(fail.Internal, "stream: record", key, "", err)
	}

	if a.closed {
		return a.ended()
	}

	a.send(&parcel{item: item{key: key, epoch: a.epoch}, content: b, anyContent: true})

	return nil
}

// recorded waits until nothing is on its way.
func (a *Archiver) recorded(ctx context.Context) error {
	return a.wait(ctx, func() bool { return len(a.flying) == 0 })
}
