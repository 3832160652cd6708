package watch

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"drctl/internal/fail"
)

// Running are the observers of this process, by group. The zero value is ready.
type Running struct {
	mu sync.Mutex
	by map[string]*kept
}

// kept is an observer that runs.
type kept struct {
	w     *Watcher
	users int
	stop  context.CancelFunc
	idle  *time.Timer // ends it when nobody holds it
	ended chan struct{}
}

// Hold returns the group's observer that runs, or starts one. It is another one where
// what is to be observed has changed. Whoever holds it lets go of it: it then runs on for a
// while, so that the next one to hold it finds the same observer, without a hole.
func (r *Running) Hold(o Options) (w *Watcher, letGo func(linger time.Duration)) {
	r.mu.Lock()
	defer r.mu.Unlock()

	next := New(o)

	k := r.by[o.Group]
	if k != nil && (k.w.o.Queue != next.o.Queue || !slices.Equal(k.w.o.Shards, next.o.Shards)) {
		k.stop() // whoever holds it still notices by what it asks
		k = nil
	}

	if k == nil {
		k = r.start(next)
	}

	k.users++
	if k.idle != nil {
		k.idle.Stop()
		k.idle = nil
	}

	var once sync.Once

	return k.w, func(linger time.Duration) { once.Do(func() { r.letGo(k, linger) }) }
}

// start needs mu.
func (r *Running) start(w *Watcher) *kept {
	ctx, stop := context.WithCancel(context.Background())
	k := &kept{w: w, stop: stop, ended: make(chan struct{})}

	if r.by == nil {
		r.by = map[string]*kept{}
	}
	r.by[w.o.Group] = k

	go func() {
		defer close(k.ended)

		w.Run(ctx)
	}()

	return k
}

func (r *Running) letGo(k *kept, linger time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if k.users--; k.users > 0 {
		return
	}

	k.idle = time.AfterFunc(max(linger, 0), func() { r.end(k) })
}

// end ends an observer that nobody holds.
func (r *Running) end(k *kept) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if k.users > 0 {
		return
	}

	if r.by[k.w.o.Group] == k {
		delete(r.by, k.w.o.Group)
	}

	k.stop()
}

// Find returns the group's observer in this process. Another process may have one. A
// nil r has none.
func (r *Running) Find(group string) (*Watcher, error) {
	if r == nil {
		return nil, nobody(group)
	}

	r.mu.Lock()
	defer r.mu.Unlock()

	if k := r.by[group]; k != nil {
		return k.w, nil
	}

	return nil, nobody(group)
}

func nobody(group string) error {
	return fail.Newf(fail.NotFound, "find the observer", group, "no observer of the group runs in this process")
}

// Stop ends all observers and waits for them.
func (r *Running) Stop() {
	r.mu.Lock()

	all := slices.Collect(maps.Values(r.by))
	clear(r.by)
	r.mu.Unlock()

	for _, k := range all {
		k.stop()
	}

	for _, k := range all {
		<-k.ended
	}
}
