package inplace_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drctl/activities/inplace"
	"drctl/internal/fail"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

// server stands for a driver's part: whether its standby runs, and what it was told. An error
// is returned once by the call of its name.
type server struct {
	dir   string
	runs  bool
	woken bool
	fails string
}

var errDied = errors.New("died")

func (s *server) call(name string) error {
	if s.fails == name {
		s.fails = ""
		return errDied
	}

	return nil
}

func (s *server) Standing(context.Context, targets.Instance, handover.HostCommands) (handover.Standing, error) {
	return handover.Standing{Dir: s.dir, At: targets.Position{Kind: targets.Postgres, Timeline: "1", Offset: 7}, UID: os.Getuid(), GID: os.Getgid()}, s.call("standing")
}

func (s *server) Halt(context.Context, targets.Instance, handover.Standing, handover.HostCommands) error {
	s.runs = false
	return s.call("halt")
}

func (s *server) Settle(_ context.Context, _ targets.Instance, _ handover.Standing, at handover.Place, _ targets.Artifact) error {
	return errors.Join(os.WriteFile(filepath.Join(at.Dir, "conf"), nil, 0o600), s.call("settle"))
}

func (s *server) Unsettle(handover.Standing, handover.Place) error { return s.call("unsettle") }

func (s *server) Wake(context.Context, targets.Instance, handover.Standing, handover.Place, handover.HostCommands) error {
	s.woken = true
	return s.call("wake")
}

func (s *server) Return(context.Context, targets.Instance, handover.Standing, handover.HostCommands) error {
	s.runs = true
	return s.call("return")
}

func newSite(t *testing.T) (inplace.Site, *server) {
	t.Helper()

	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "data")

	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "standby"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	s := &server{dir: dir, runs: true}
	in := targets.Instance{Kind: targets.Postgres, Shard: targets.ShardID{Target: "orders", Shard: "0"}, Region: "west", Address: "h:5432", DataDir: dir}

	return inplace.Site{Run: "r1", In: in, Into: plan.Destination{Region: "west", Address: "h:5432", DataDir: dir}, Does: s}, s
}

func restored(dir string) func(context.Context) (plan.StepOut, error) {
	return func(context.Context) (plan.StepOut, error) {
		return plan.StepOut{}, os.WriteFile(filepath.Join(dir, "restored"), nil, 0o600)
	}
}

func has(t *testing.T, paths ...string) {
	t.Helper()

	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			t.Error(err)
		}
	}
}

// Whatever breaks off, a repeat goes on: the standby's directory is kept whole under the run's
// name, and what was laid down is in its place. Taken back, all is as it was.
func TestAPlaceIsTakenAndGivenBack(t *testing.T) {
	for _, dies := range []string{"", "standing", "halt", "settle"} {
		t.Run("dies at "+dies, func(t *testing.T) {
			site, s := newSite(t)
			s.fails = dies

			take := func() error {
				if _, err := site.Clear(t.Context(), 0); err != nil {
					return err
				}
				_, err := site.Lay(t.Context(), targets.Artifact{}, restored(s.dir))

				return err
			}

			if err := take(); (err != nil) != (dies != "") {
				t.Fatal(err)
			}

			if err := take(); err != nil {
				t.Fatal(err)
			}

			has(t, s.dir+".left-r1/standby", s.dir+"/restored", s.dir+"/conf", s.dir+".left-r1.json")

			if s.runs {
				t.Error("the standby runs")
			}

			if err := site.Wake(t.Context()); err != nil || !s.woken {
				t.Error(err)
			}
		})
	}

	for _, dies := range []string{"", "unsettle", "return"} {
		t.Run("given back, dies at "+dies, func(t *testing.T) {
			site, s := newSite(t)
			if _, err := site.Clear(t.Context(), 0); err != nil {
				t.Fatal(err)
			}

			if _, err := site.Lay(t.Context(), targets.Artifact{}, restored(s.dir)); err != nil {
				t.Fatal(err)
			}
			s.fails = dies

			if err := site.Back(t.Context()); (err != nil) != (dies != "") {
				t.Fatal(err)
			}

			if err := site.Back(t.Context()); err != nil || !s.runs {
				t.Fatal(err)
			}

			has(t, s.dir+"/standby", s.dir+".given-up-r1-1/restored")
		})
	}
}

// Nothing is stopped where it would not go well.
func TestAPlaceIsRefusedBeforeAnythingIsStopped(t *testing.T) {
	for want, spoil := range map[string]func(t *testing.T, x *inplace.Site, s *server) int64{
		"are free":            func(*testing.T, *inplace.Site, *server) int64 { return 1 << 60 },
		"neither clients":     func(_ *testing.T, x *inplace.Site, _ *server) int64 { x.Into.Address = "other:1"; return 0 },
		"is not empty":        func(_ *testing.T, x *inplace.Site, s *server) int64 { x.Into.DataDir = filepath.Dir(s.dir); return 0 },
		"it is there already": func(t *testing.T, _ *inplace.Site, s *server) int64 { mkdir(t, s.dir+".left-r1"); return 0 },
		"died":                func(_ *testing.T, _ *inplace.Site, s *server) int64 { s.fails = "standing"; return 0 },
	} {
		site, s := newSite(t)
		need := spoil(t, &site, s)
		_, err := site.Check(t.Context(), need)

		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}

		if s.fails = ""; want == "died" {
			s.fails = "standing"
		}

		if _, err := site.Clear(t.Context(), need); err == nil || !s.runs {
			t.Errorf("%s: %v, the standby runs: %t", want, err, s.runs)
		}

		has(t, s.dir+"/standby")
	}
}

// A restore that finds something wrong is none, and a server of what is not whole is not woken.
func TestWhatIsNotWholeIsNotWoken(t *testing.T) {
	site, s := newSite(t)
	if _, err := site.Clear(t.Context(), 0); err != nil {
		t.Fatal(err)
	}

	_, err := site.Lay(t.Context(), targets.Artifact{}, func(context.Context) (plan.StepOut, error) {
		return plan.StepOut{Findings: []targets.Finding{{Check: targets.CheckPrepared, Severity: targets.Failed, Detail: "not the state that was proven"}}}, nil
	})
	if !fail.Is(err, fail.Unverified) {
		t.Errorf("%v", err)
	}

	if err := site.Wake(t.Context()); !fail.Is(err, fail.Conflict) || s.woken {
		t.Errorf("%v", err)
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()

	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// Where a server is started that may take writes, nothing is taken back any more: neither by the run, nor by
// another engine that takes it up and does not know.
func TestWhatMayHaveTakenWritesStays(t *testing.T) {
	for _, dies := range []string{"", "wake"} {
		site, s := newSite(t)
		if _, err := site.Clear(t.Context(), 0); err != nil {
			t.Fatal(err)
		}

		if _, err := site.Lay(t.Context(), targets.Artifact{}, restored(s.dir)); err != nil {
			t.Fatal(err)
		}
		s.fails = dies

		if err := site.Wake(t.Context()); (err != nil) != (dies != "") {
			t.Fatal(err)
		}

		if err := site.Back(t.Context()); !fail.Is(err, fail.Conflict) || s.runs {
			t.Errorf("dies at %q: %v, the standby runs: %t", dies, err, s.runs)
		}

		has(t, s.dir+"/restored", s.dir+".left-r1/standby")

		if err := site.Wake(t.Context()); err != nil { // who goes on starts it again
			t.Error(err)
		}
	}
}

// Who was taken back half way is begun anew: the standby that is in its place again is no shard that was laid down.
func TestABrokenOffReturnIsNotTakenForALaidDownShard(t *testing.T) {
	for _, dies := range []string{"unsettle", "return"} {
		site, s := newSite(t)
		lay := func() error {
			if _, err := site.Clear(t.Context(), 0); err != nil {
				return err
			}
			_, err := site.Lay(t.Context(), targets.Artifact{}, restored(s.dir))

			return err
		}

		if err := lay(); err != nil {
			t.Fatal(err)
		}
		s.fails = dies

		if err := site.Back(t.Context()); err == nil {
			t.Fatal("it did not die")
		}

		if err := site.Wake(t.Context()); !fail.Is(err, fail.Conflict) || s.woken {
			t.Errorf("dies at %s: the standby was woken as what was laid down: %v", dies, err)
		}

		if err := lay(); err != nil {
			t.Fatal(err)
		}

		has(t, s.dir+"/restored", s.dir+"/conf", s.dir+".left-r1/standby", s.dir+".given-up-r1-1/restored")

		if err := site.Wake(t.Context()); err != nil || !s.woken {
			t.Error(err)
		}
	}
}
