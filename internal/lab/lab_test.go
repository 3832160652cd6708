package lab_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/lab"
	"drctl/internal/sandbox/sandboxtest"
)

func TestLabLivesAndDies(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	dir := filepath.Join(sandboxtest.Dir(t), "lab")
	opt := lab.Options{Dir: dir, Shards: 2, Redis: 1, Tools: sandboxtest.Tools(t)}

	l, err := lab.Up(ctx, opt)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = l.Down(context.Background(), true) })

	path, err := l.WriteConfig(lab.Settings{})
	if err != nil {
		t.Fatal(err)
	}

	if _, err := config.Load(path, os.LookupEnv); err != nil {
		t.Fatal(err)
	}

	// What a lab was not made for is refused.
	for _, f := range []lab.Fault{{Do: "cut", What: lab.West, Way: "both"}, {Do: "slow", What: lab.West, By: time.Second}, {Do: "lossy", What: lab.West, Rate: 0.1}, {Do: "clock", What: "east/orders/0", By: time.Second}} {
		for _, undo := range []bool{false, true} {
			if err := l.Fault(ctx, f, undo); !fail.Is(err, fail.Unsupported) || !strings.Contains(err.Error(), "drlab up --") {
				t.Errorf("%+v: %v", f, err)
			}
		}
	}

	for _, more := range []lab.Options{{Lines: true, Program: "drlab"}, {Clocks: true}} {
		more.Dir, more.Tools = dir, opt.Tools
		if _, err := lab.Up(ctx, more); !fail.Is(err, fail.Conflict) {
			t.Errorf("a lab got what it gets when it is made: %v", err)
		}
	}

	before := l.Servers()
	if l, err = lab.Up(ctx, opt); err != nil { // a repeat changes nothing
		t.Fatal(err)
	}

	for i, s := range l.Servers() {
		if !s.Proc.Alive() || s.Proc != before[i].Proc {
			t.Fatalf("%s was disturbed by the repeat", s.Name)
		}
	}

	if err := l.Break(ctx, "kill", "east/carts/0"); err != nil {
		t.Fatal(err)
	}

	if l, err = lab.Up(ctx, opt); err != nil { // what is down comes back
		t.Fatal(err)
	}

	if err := l.Break(ctx, "region", "east"); err != nil {
		t.Fatal(err)
	}

	for i, s := range before {
		if s.Region == lab.East && s.Proc.Alive() {
			t.Errorf("%s survived the loss of its region", s.Name)
		}

		if s.Region == lab.West && !l.Servers()[i].Proc.Alive() {
			t.Errorf("%s died with the other region", s.Name)
		}
	}

	if _, err := os.Stat(filepath.Join(dir, "east")); !os.IsNotExist(err) {
		t.Errorf("the disks of the lost region are still there: %v", err)
	}

	if err := l.Break(ctx, "kill", "east/nothing/0"); !fail.Is(err, fail.NotFound) {
		t.Errorf("got %v", err)
	}

	if err := l.Down(ctx, true); err != nil {
		t.Fatal(err)
	}

	for _, s := range before {
		if s.Proc.Alive() {
			t.Errorf("%s is left behind", s.Name)
		}
	}

	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is left behind")
	}
}
