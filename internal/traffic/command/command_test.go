package command_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/traffic"
	"drctl/internal/traffic/command"
	"drctl/internal/traffic/traffictest"
	"drctl/targets"
)

const secret = "s3cr3t-word"

func route(kind traffic.Kind) traffic.Route {
	return traffic.Route{Name: "edge", Kind: kind, Service: "shop-web", Regions: []string{"east", "west"}}
}

// place is a load balancer of the simplest kind: files, that hooks write.
type place struct{ dir string }

func newPlace(t *testing.T) place {
	t.Helper()
	p := place{t.TempDir()}
	p.write(t, "region", "east")

	return p
}

// writing is held by who writes a file: a request of who was killed goes on.
var writing sync.Mutex

func (p place) write(t *testing.T, name, text string) {
	t.Helper()
	writing.Lock()
	defer writing.Unlock()

	if err := atomicfile.Write(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ask waits while the place is held.
func (p place) ask(ctx context.Context) (string, error) {
	for {
		_, err := os.Stat(filepath.Join(p.dir, "held"))
		if err != nil {
			break
		}

		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}

	b, err := os.ReadFile(filepath.Join(p.dir, "region"))
	if err == nil && string(b) == "none" {
		err = errors.New("it leads nowhere")
	}

	return string(b), err
}

// script is a program of the user's own; it gets what it does as an argument.
func (p place) script(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(p.dir, "hook")

	if err := os.WriteFile(file, []byte("#!/bin/sh\nset -eu\ncd "+p.dir+"\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}

	return file
}

const hooks = `put() { printf %s "$1" >new.$$; mv new.$$ region; }
case $1 in
read) echo "$(cat region)$([ -e held ] && echo ' held' || true)"; echo "token $TOKEN" >&2;;
hold) : >held;;
isolate) : >held; put none;;
point) put "$2";;
release) rm -f held;;
undo) jq -r '.region' >asked; put "$(cat asked)"; rm -f held;;
esac
`

func (p place) spec(t *testing.T, text string, names ...string) command.ExecSpec {
	t.Helper()
	file := p.script(t, text)
	s := command.ExecSpec{Spec: command.Spec{Route: route(traffic.Exec)}, Commands: map[string][]string{}, Env: map[string]targets.Secret{"TOKEN": targets.NewSecret(secret)}}

	for _, n := range names {
		s.Commands[n] = []string{file, n, "{region}"}
	}

	return s
}

func program(t *testing.T, s command.ExecSpec) *command.Driver {
	t.Helper()

	d, err := command.NewExec(s)
	if err != nil {
		t.Fatal(err)
	}

	return d
}

func TestPrograms(t *testing.T) {
	for name, hook := range map[string][]string{"all hooks": command.Hooks, "read and point": {"read", "point"}, "no undo": {"read", "hold", "isolate", "point", "release"}} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			spec := p.spec(t, hooks, hook...)

			traffictest.Run(t, traffictest.Rig{Route: spec.Route, East: "east", West: "west", Secret: secret, Rounds: sandboxtest.Size(2, 30), Ask: p.ask,
				New: func(t *testing.T) traffic.Driver { return program(t, spec) }})
		})
	}
}

func TestArgumentsAreNoShell(t *testing.T) {
	p := newPlace(t)
	spec := p.spec(t, `case $1 in read) cat region;; point) printf %s "$3" >said; printf %s "$2" >region;; esac`, "read", "point")
	spec.Commands["point"] = append(spec.Commands["point"], "{route} $(touch owned) {was};`touch owned`")

	if err := program(t, spec).Point(t.Context(), "west"); err != nil {
		t.Fatal(err)
	}

	if b, _ := os.ReadFile(filepath.Join(p.dir, "said")); string(b) != "edge $(touch owned) east;`touch owned`" {
		t.Errorf("the hook was told %q", b)
	}
}

func TestAHookEndsWithAllThatItStarted(t *testing.T) {
	p := newPlace(t)
	d := program(t, p.spec(t, `if [ $1 = read ]; then cat region; exit; fi; sleep 600 & echo $! >new; mv new child; wait`, "read", "point"))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	done := make(chan error, 1)
	go func() { done <- d.Point(ctx, "west") }()

	child := ""
	for child == "" {
		b, _ := os.ReadFile(filepath.Join(p.dir, "child"))
		child = strings.TrimSpace(string(b))

		time.Sleep(time.Millisecond)
	}

	cancel()

	if err := <-done; !fail.Is(err, fail.Unavailable) {
		t.Errorf("point: %v", err)
	}

	gone(t, child)
}

func TestAHookHasItsTime(t *testing.T) {
	p := newPlace(t)
	spec := p.spec(t, `sleep 600`, "read", "point")
	spec.Limit = time.Millisecond

	if _, err := program(t, spec).Read(t.Context()); !fail.Is(err, fail.Stalled) {
		t.Errorf("read: %v", err)
	}
}

// gone waits until a process has ended; init may need a moment to see to it.
func gone(t *testing.T, pid string) {
	t.Helper()
	var n int
	_, _ = fmt.Sscan(pid, &n)

	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
	}

	_ = syscall.Kill(n, syscall.SIGKILL)

	t.Errorf("process %s goes on", pid)
}

func TestWhatHooksSayIsBoundedAndBlotted(t *testing.T) {
	p := newPlace(t)

	_, err := program(t, p.spec(t, `echo "no: $TOKEN"; echo "why: $TOKEN" >&2; exit 3`, "read", "point")).Read(t.Context())
	if !fail.Is(err, fail.Unavailable) || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "why: [redacted]") {
		t.Errorf("read: %v", err)
	}

	_, err = program(t, p.spec(t, `head -c 1000000 /dev/zero | tr '\0' x`, "read", "point")).Read(t.Context())
	if err == nil || len(err.Error()) > 1000 {
		t.Errorf("a hook that says a lot: %v", err)
	}

	for _, said := range []string{"", "north", "east east", "east held now", "\x1b[2J"} {
		if _, err := program(t, p.spec(t, `printf '%b' '`+said+`'`, "read", "point")).Read(t.Context()); !fail.Is(err, fail.Unverified) {
			t.Errorf("read said %q: %v", said, err)
		}
	}
}

func TestAHookThatLiesIsFoundOut(t *testing.T) {
	p := newPlace(t)
	d := program(t, p.spec(t, `case $1 in read) cat region;; esac`, command.Hooks...))

	was, err := d.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	for name, err := range map[string]error{"point": d.Point(t.Context(), "west"), "hold": d.Hold(t.Context()), "isolate": d.Isolate(t.Context())} {
		if !fail.Is(err, fail.Unverified) {
			t.Errorf("%s: %v", name, err)
		}
	}

	p.write(t, "region", "west")

	if err := d.Undo(t.Context(), was); !fail.Is(err, fail.Unverified) {
		t.Errorf("undo: %v", err)
	}
}

func TestPlainEnvironment(t *testing.T) {
	t.Setenv("DRCTL_SECRET_OF_OURS", "x")
	p := newPlace(t)
	d := program(t, p.spec(t, `env >env; cat region`, "read", "point"))

	if _, err := d.Read(t.Context()); err != nil {
		t.Fatal(err)
	}

	if b, _ := os.ReadFile(filepath.Join(p.dir, "env")); strings.Contains(string(b), "DRCTL_SECRET_OF_OURS") || !strings.Contains(string(b), "DRCTL_ROUTE=edge") {
		t.Errorf("the hook's environment: %s", b)
	}
}

func TestMistakes(t *testing.T) {
	p := newPlace(t)
	for name, change := range map[string]func(*command.ExecSpec){
		"no read":            func(s *command.ExecSpec) { delete(s.Commands, "read") },
		"a relative path":    func(s *command.ExecSpec) { s.Commands["read"] = []string{"hook"} },
		"another hook":       func(s *command.ExecSpec) { s.Commands["other"] = s.Commands["read"] },
		"hold, no release":   func(s *command.ExecSpec) { s.Commands["hold"] = s.Commands["read"] },
		"a region of spaces": func(s *command.ExecSpec) { s.Route.Regions = []string{"a b"} },
	} {
		s := p.spec(t, hooks, "read", "point")
		change(&s)

		if _, err := command.NewExec(s); !fail.Is(err, fail.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// service is a load balancer with an API of its own.
type service struct {
	place
	*httptest.Server
	broken atomic.Int32 // a status that it answers with
	conns  atomic.Int32 // connections, also of clients that are gone and have something under way
}

// idle waits for what a killed client had sent: a service does that all the same, and
// until then a new client does not know what is.
func (s *service) idle() {
	// Who came before this one is counted when this one is answered.
	last := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if r, err := last.Get(s.URL); err == nil {
		_ = r.Body.Close()
	}

	for s.conns.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
}

func newService(t *testing.T) *service {
	s := &service{place: newPlace(t)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != secret {
			w.WriteHeader(http.StatusForbidden)
			return
		}

		if n := int(s.broken.Load()); n != 0 {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(n)
			fmt.Fprintf(w, "you said %s", r.Header.Get("Authorization"))

			return
		}

		if r.Method == http.MethodGet {
			region, _ := os.ReadFile(filepath.Join(s.dir, "region"))

			held := ""
			if _, err := os.Stat(filepath.Join(s.dir, "held")); err == nil {
				held = " held"
			}
			_, _ = io.WriteString(w, string(region)+held)

			return
		}

		var q struct {
			Hook, Region string
			State        traffic.State
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Hook == "undo" && q.State.Region != q.Region {
			w.WriteHeader(http.StatusBadRequest)
			return
		}

		switch q.Hook {
		case "hold":
			s.write(t, "held", "")
		case "isolate":
			s.write(t, "held", "")
			s.write(t, "region", "none")
		case "point":
			s.write(t, "region", q.Region)
		case "undo", "release":
			s.write(t, "region", q.Region)
			_ = os.Remove(filepath.Join(s.dir, "held"))
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.conns.Add(1)
		case http.StateClosed, http.StateHijacked:
			s.conns.Add(-1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)

	return s
}

func (s *service) spec() command.HTTPSpec {
	spec := command.HTTPSpec{Spec: command.Spec{Route: route(traffic.HTTP), Lag: time.Minute}, Requests: map[string]command.Request{},
		Headers: map[string]targets.Secret{"Authorization": targets.NewSecret(secret)}}
	for _, hook := range command.Hooks {
		spec.Requests[hook] = command.Request{URL: s.URL + "/{route}"}
	}

	return spec
}

func request(t *testing.T, s command.HTTPSpec) *command.Driver {
	t.Helper()

	d, err := command.NewHTTP(s)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(d.Close)

	return d
}

func TestRequests(t *testing.T) {
	s := newService(t)

	traffictest.Run(t, traffictest.Rig{Route: s.spec().Route, East: "east", West: "west", Secret: secret, Rounds: sandboxtest.Size(6, 60), Ask: s.ask,
		Idle: s.idle,
		New:  func(t *testing.T) traffic.Driver { return request(t, s.spec()) }})
}

func TestAnswersThatAreNone(t *testing.T) {
	s := newService(t)
	d := request(t, s.spec())

	for _, status := range []int{500, 404, 302} {
		s.broken.Store(int32(status))

		_, err := d.Read(t.Context())
		if !fail.Is(err, fail.Unavailable) || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), fmt.Sprint(status)) {
			t.Errorf("%d: %v", status, err)
		}
	}

	s.Close()

	if _, err := d.Read(t.Context()); !fail.Is(err, fail.Unavailable) {
		t.Errorf("nobody there: %v", err)
	}

	spec := s.spec()
	spec.Requests["read"] = command.Request{URL: "https://user:word@example.com/"}

	if _, err := command.NewHTTP(spec); !fail.Is(err, fail.Invalid) {
		t.Errorf("a password in a URL: %v", err)
	}
}
