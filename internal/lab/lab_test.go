package lab_test

import (
	"context"
	"os"
	"path/filepath"
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
