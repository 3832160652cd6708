package main

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"drctl/internal/lab"
)

// victim is something that is killed and comes back.
type victim struct {
	name string
	kill func()
}

// victims are drctl's own processes, which drctl up starts again, and stores of the east, which come back
// some seconds later as if a supervisor had started them, in an order by chance.
func (w *world) victims(t *testing.T, r *rand.Rand) (all []victim) {
	for _, name := range []string{"worker-east", "worker-west", "engine"} {
		all = append(all, victim{name, func() {
			if c, ok := w.children(t)[name]; ok && c.Alive() {
				_ = syscall.Kill(c.Pid, syscall.SIGKILL)
			}
		}})
	}

	for _, name := range []string{"east/orders/0", "east/orders/1", "east/carts/0"} {
		away := time.Duration(r.Int64N(int64(3 * time.Second)))
		all = append(all, victim{name, func() { w.bounce(t, name, away) }})
	}

	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })

	return all
}

// bounce kills a store with SIGKILL and starts it again after a while.
func (w *world) bounce(t *testing.T, name string, away time.Duration) {
	l := w.labOf(t)

	if err := l.Break(t.Context(), "kill", name); err != nil {
		t.Error(err)
		return
	}

	time.Sleep(away)

	tools, err := sandboxTools()
	if err == nil {
		_, err = lab.Up(t.Context(), lab.Options{Dir: w.lab, Tools: tools})
	}

	if err != nil {
		t.Errorf("%s does not come back: %v", name, err)
	}
}
