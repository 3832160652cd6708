package guard

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/proc"
)

// Place is a directory that nothing but one server works in, and the names of
// its programs.
type Place struct {
	Dir      string   `json:"dir"`
	Programs []string `json:"programs"`
}

func place(s Server) Place {
	dir, programs := s.Place()
	return Place{dir, programs}
}

func places(servers []Server) (all []Place) {
	for _, s := range servers {
		if p := place(s); p.Dir != "" {
			all = append(all, p)
		}
	}

	return all
}

// Taken reports whether a process of the server is there.
func (p Place) Taken() bool { return len(proc.In(p.Dir, p.Programs...)) > 0 }

// Kill ends by force what works in these places, with all that it has started.
func Kill(places []Place) error {
	var errs []error
	for _, p := range places {
		for _, r := range proc.In(p.Dir, p.Programs...) {
			errs = append(errs, r.Kill())
		}

		if p.Taken() {
			errs = append(errs, errors.New(p.Dir+": a process is left"))
		}
	}

	return errors.Join(errs...)
}

// Watch is what a watchman knows: the places that must be empty by an instant
// of the machine's clock (epoch.Boot), unless he hears better.
type Watch struct {
	Until  time.Duration `json:"until_ns"`
	Places []Place       `json:"places"`
	// Dismissed watchmen go home.
	Dismissed bool `json:"dismissed,omitempty"`
}

// Watchman is the guard's second process, at the other end of a pipe.
type Watchman struct {
	mu   sync.Mutex
	pipe io.WriteCloser
	done chan struct{}
}

// StartWatchman starts the command, which must call Stand with its standard input.
// It is in a session of its own, so that what ends the guard leaves it alone.
func StartWatchman(cmd *exec.Cmd) (*Watchman, error) {
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fail.From(fail.Exhausted, "guard: watchman", "", err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}

	if err := cmd.Start(); err != nil {
		return nil, fail.FromOS("guard: watchman", cmd.Path, err)
	}

	w := &Watchman{pipe: pipe, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()

		close(w.done)
	}()

	return w, nil
}

// Tell replaces what the watchman knows.
func (w *Watchman) Tell(x Watch) {
	if w == nil {
		return
	}
	b, _ := json.Marshal(x) // nothing in it can fail

	w.mu.Lock()
	defer w.mu.Unlock()

	// One that is gone is seen before the next renewal.
	_, _ = w.pipe.Write(append(b, '\n'))
}

// gone reports whether nobody stands by any more.
func (w *Watchman) gone() bool {
	if w == nil {
		return false
	}

	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// Dismiss sends the watchman home and waits for him.
func (w *Watchman) Dismiss() {
	if w == nil {
		return
	}

	w.Tell(Watch{Dismissed: true})
	_ = w.pipe.Close()
	<-w.done
}

// Stand is the watchman: it reads what the guard says, and kills the processes
// when their time has come. The end of the input is no news: their time stands. It
// returns when it is dismissed, or when it has killed after the guard was gone.
func Stand(in io.Reader, clock epoch.Clock, kill func([]Place) error) error {
	news := make(chan Watch)
	gone := make(chan struct{})

	go func() {
		defer close(gone)

		lines := bufio.NewScanner(in)
		lines.Buffer(nil, 1<<20)

		for lines.Scan() {
			var x Watch
			if err := json.Unmarshal(lines.Bytes(), &x); err == nil {
				news <- x
			}
		}
	}()

	var now Watch

	left, ended := gone, false
	for {
		var due <-chan time.Time
		if len(now.Places) > 0 {
			due = time.After(min(max(0, now.Until-clock()), blink))
		}

		select {
		case now = <-news:
			if now.Dismissed {
				return nil
			}
		case <-left:
			if left, ended = nil, true; len(now.Places) == 0 {
				return errors.New("the guard is gone and has named no server")
			}
		case <-due:
			if clock() < now.Until {
				continue
			}

			if err := kill(now.Places); err != nil {
				time.Sleep(10 * time.Millisecond)
				continue
			}

			if now.Places = nil; ended {
				return nil
			}
		}
	}
}
