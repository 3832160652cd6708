package switchover_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/redis"
)

const limit = 5 * time.Minute

// pair is a master and its replica.
type pair struct {
	testing.TB
	d    *redis.Driver
	a, b targets.Instance
}

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{TB: t, d: redis.New(redis.Options{})}
	p.a = sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	p.b = sandboxtest.RedisReplica(t, p.a, sandboxtest.RedisOptions{})
	p.until(p.b, "master_link_status:up")

	return p
}

func (p *pair) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	p.Cleanup(cancel)

	return ctx
}

func (p *pair) client(in targets.Instance) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: in.Address, Password: in.Password.Reveal(), Protocol: 2, DisableIdentity: true, MaxRetries: -1, ReadTimeout: limit})
	p.Cleanup(func() { _ = c.Close() })

	return c
}

func (p *pair) do(in targets.Instance, args ...any) any {
	p.Helper()

	v, err := p.client(in).Do(p.context(), args...).Result()
	if err != nil {
		p.Fatal(err)
	}

	return v
}

// info is one line of INFO.
func (p *pair) info(in targets.Instance, name string) string {
	p.Helper()

	for line := range strings.Lines(fmt.Sprint(p.do(in, "info"))) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return v
		}
	}

	return ""
}

func (p *pair) until(in targets.Instance, line string) {
	p.Helper()
	name, want, _ := strings.Cut(line, ":")

	for end := time.Now().Add(limit); p.info(in, name) != want; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("%s: it is %s", line, p.info(in, name))
		}
	}
}

func (p *pair) hands(from, to targets.Instance, epoch uint64) handover.Switch {
	p.Helper()

	h, err := p.d.Switch(handover.Request{Old: from, New: to, Epoch: epoch, Lease: limit})
	if err != nil {
		p.Fatal(err)
	}

	p.Cleanup(h.Close)

	return h
}

func exact(s handover.Stopped) handover.PromoteRequest {
	return handover.PromoteRequest{Silence: []handover.Silence{s.Silence}, Line: s.At, Exact: true}
}

// switchover does all steps but the last, the release of the writers.
func (p *pair) switchover(h handover.Switch) (handover.Stopped, handover.Promoted) {
	p.Helper()
	ctx := p.context()

	if _, err := h.Prepare(ctx); err != nil {
		p.Fatal(err)
	}

	if _, err := h.Drain(ctx); err != nil {
		p.Fatal(err)
	}

	s, err := h.Stop(ctx)
	if err != nil {
		p.Fatal(err)
	}

	out, err := h.Promote(ctx, exact(s))
	if err != nil {
		p.Fatal(err)
	}

	if err := h.Probe(ctx); err != nil {
		p.Fatal(err)
	}

	return s, out
}

// There and back: every write that was acknowledged is there, and nobody is given a
// whole image.
func TestASwitchoverThereAndBackLosesNothingAndSendsNoImage(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	full := map[string]string{p.a.Address: p.info(p.a, "sync_full"), p.b.Address: p.info(p.b, "sync_full")}

	for round := range 4 {
		p.do(p.a, "set", fmt.Sprint("k", round), "v")
		h := p.hands(p.a, p.b, uint64(round+2))

		s, out := p.switchover(h)
		if out.Fork != s.At || out.Again || out.Begins.Timeline == s.At.Timeline {
			t.Fatalf("the old side ended at %v, the new one left it at %v and goes on at %v", s.At, out.Fork, out.Begins)
		}

		if err := h.Release(p.context()); err != nil {
			t.Fatal(err)
		}

		if again, err := h.Promote(p.context(), exact(s)); err != nil || !again.Again || again.Fork != out.Fork {
			t.Fatalf("promoted again: %+v, %v", again, err)
		}

		r, err := p.d.Rejoin(p.context(), handover.RejoinRequest{Old: p.a, New: p.b})
		if err != nil || r.Method != "as it was" || len(r.Warnings) != 0 {
			t.Fatalf("rejoined: %+v, %v", r, err)
		}

		for i := range round + 1 {
			if v := p.do(p.a, "get", fmt.Sprint("k", i)); v != "v" {
				t.Fatalf("key %d is %v", i, v)
			}
		}

		p.a, p.b = p.b, p.a
	}

	for _, in := range []targets.Instance{p.a, p.b} {
		if n := p.info(in, "sync_full"); n != full[in.Address] {
			t.Errorf("%s gave %s images, it had given %s", in, n, full[in.Address])
		}
	}
}

// Between Stop and Promote nobody takes writes, whoever dies; Undo lets those go that
// wait, and they write.
func TestWritersWaitAndGoOnAfterUndo(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	ctx, h := p.context(), p.hands(p.a, p.b, 2)

	if _, err := h.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	c := p.client(p.a)

	go func() { wrote <- c.Set(ctx, "waits", "v", 0).Err() }()

	if err := h.Undo(ctx, false); err != nil {
		t.Fatal(err)
	}

	if err := <-wrote; err != nil {
		t.Fatalf("a writer that waited: %v", err)
	}

	s, err := h.Stop(ctx)
	if err != nil {
		t.Fatal(err)
	}

	if p.info(p.a, "role") != "slave" || p.info(p.b, "role") != "slave" {
		t.Fatalf("roles %s and %s: somebody takes writes", p.info(p.a, "role"), p.info(p.b, "role"))
	}

	if again, err := p.hands(p.a, p.b, 2).Stop(ctx); err != nil || again.At != s.At {
		t.Errorf("stopped again: %+v, %v", again, err)
	}

	if err := p.hands(p.a, p.b, 2).Undo(ctx, true); err != nil {
		t.Fatal(err)
	}

	p.do(p.a, "set", "after", "v")
	p.until(p.b, "master_link_status:up")

	if _, err := h.Promote(ctx, exact(s)); !fail.Is(err, fail.Denied) {
		t.Errorf("promoted with the proof of a stop that was undone: %v", err)
	}

	p.switchover(h)

	if v := p.do(p.b, "get", "after"); v != "v" {
		t.Errorf("the key is %v", v)
	}

	if err := h.Undo(ctx, true); !fail.Is(err, fail.Conflict) {
		t.Errorf("undone after the promotion: %v", err)
	}
}

func TestAReplicaIsPromotedWithProofAndOnItsLineAlone(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	ctx, h := p.context(), p.hands(p.a, p.b, 2)

	prep, err := h.Prepare(ctx)
	if err != nil {
		t.Fatal(err)
	}
	proof := handover.Silence{Instance: p.a.String(), Kind: handover.SilentStatement, Epoch: 2}
	late := prep.At
	late.Offset += 1000

	other := prep.At
	other.Timeline = strings.Repeat("a", 40)

	for name, c := range map[string]struct {
		req  handover.PromoteRequest
		code fail.Code
	}{
		"no proof":          {handover.PromoteRequest{Line: prep.At}, fail.Denied},
		"an older epoch":    {handover.PromoteRequest{Line: prep.At, Silence: []handover.Silence{{Instance: p.a.String(), Kind: handover.SilentStatement, Epoch: 1}}}, fail.Denied},
		"it lacks the end":  {handover.PromoteRequest{Line: late, Exact: true, Silence: []handover.Silence{proof}}, fail.Conflict},
		"another history":   {handover.PromoteRequest{Line: other, Silence: []handover.Silence{proof}}, fail.Conflict},
		"the old is master": {handover.PromoteRequest{Line: prep.At, Silence: []handover.Silence{{Instance: p.a.String(), Kind: handover.SilentDemoted, Epoch: 2}}}, fail.Denied},
	} {
		if _, err := h.Promote(ctx, c.req); !fail.Is(err, c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}

	// The master is gone: the replica is late, and promoted all the same. Back, the
	// old one has keys that nobody else has, and is not made a replica in silence.
	if _, err := h.Promote(ctx, handover.PromoteRequest{Line: late, Silence: []handover.Silence{proof}}); err != nil {
		t.Fatal(err)
	}

	p.do(p.a, "set", "lost", "v")

	if _, err := p.d.Rejoin(ctx, handover.RejoinRequest{Old: p.a, New: p.b}); !fail.Is(err, fail.Conflict) {
		t.Fatalf("rejoined: %v", err)
	}

	if _, err := p.d.Rejoin(ctx, handover.RejoinRequest{Old: p.a, New: p.b, MayRewind: true, Lost: func(context.Context, handover.Loss) error {
		return fail.Newf(fail.Unavailable, "loss", "", "the record cannot be kept")
	}}); !fail.Is(err, fail.Unavailable) {
		t.Errorf("what only the old master has was dropped without a record: %v", err)
	}

	var told handover.Loss

	r, err := p.d.Rejoin(ctx, handover.RejoinRequest{Old: p.a, New: p.b, MayRewind: true, Lost: func(_ context.Context, what handover.Loss) error {
		told = what
		return nil
	}})

	if !told.Read || told.Bytes == 0 || told.Bytes != told.Part.To-told.Part.From {
		t.Errorf("lost: %+v", told)
	}

	if err != nil || r.Method != "full" || !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "dropped") }) {
		t.Errorf("rejoined: %+v, %v", r, err)
	}

	if n := p.do(p.a, "exists", "lost"); n != int64(0) {
		t.Error("the rejoined side has a key that its master has not")
	}
}

// BenchmarkWriteOutage switches to and fro under a writer; direct clients see one
// refusal each time, which is tried again.
func BenchmarkWriteOutage(b *testing.B) {
	const rounds = 15

	for b.Loop() {
		p := newPair(b)

		var outages []time.Duration
		for round := range rounds {
			h := p.hands(p.a, p.b, uint64(round+2))
			if _, err := h.Prepare(p.context()); err != nil {
				b.Fatal(err)
			}
			next := p.client(p.b)
			_ = next.Ping(p.context()).Err()
			began := time.Now()

			_, _ = p.switchover(h)
			if err := next.Set(p.context(), fmt.Sprint(round), "v", 0).Err(); err != nil {
				b.Fatal(err)
			}
			outages = append(outages, time.Since(began))

			if err := h.Release(p.context()); err != nil {
				b.Fatal(err)
			}

			if _, err := p.d.Rejoin(p.context(), handover.RejoinRequest{Old: p.a, New: p.b}); err != nil {
				b.Fatal(err)
			}
			p.a, p.b = p.b, p.a
		}

		slices.Sort(outages)
		b.ReportMetric(float64(outages[rounds/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(outages[rounds-1].Microseconds())/1000, "max-ms")
	}
}

// Restarted, each side is what it was made: else a promoted master would follow the old
// one again, and lose what was written since.
func TestRolesOutliveARestart(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	h := p.hands(p.a, p.b, 2)
	s, _ := p.switchover(h)

	follows := func(in targets.Instance) bool {
		b, err := os.ReadFile(filepath.Join(in.DataDir, "redis.conf"))
		if err != nil {
			t.Fatal(err)
		}

		return regexp.MustCompile(`(?m)^(replicaof|slaveof) `).Match(b)
	}

	if s.Silence.Kind != handover.SilentDemoted || follows(p.b) || !follows(p.a) {
		t.Errorf("by their files the new side follows (%t), and the old one does (%t)", follows(p.b), follows(p.a))
	}
}
