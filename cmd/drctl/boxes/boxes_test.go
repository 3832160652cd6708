package boxes

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/sandbox"
	"drctl/targets"
)

// kept makes a sandbox with one restored server below the folder that a command
// with an engine of its own makes in root.
func kept(t *testing.T, root string) *sandbox.Box {
	t.Helper()

	made := sandbox.Run{Workflow: "shop:drill/nightly", ID: "1"}

	box, err := sandbox.Create(t.Context(), sandbox.Options{Root: filepath.Join(root, "sandbox"), ID: "drill-1", Purpose: "drill nightly", Run: made, MadeBy: made})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(box.Dir(), "orders-0")

	if err := box.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}

	err = sandbox.WriteAccess(dir, sandbox.Access{Kind: targets.Postgres, Shard: targets.ShardID{Target: "orders", Shard: "0"}, Address: "127.0.0.1:5999", User: "drctl", Password: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}

	if err := box.Keep(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}

	return box
}

// What a restore or a drill leaves says where it is, how to look in, until when
// it stays and how it goes, and does not put a password into a log.
func TestLeft(t *testing.T) {
	box := kept(t, t.TempDir())

	var out strings.Builder
	Left(&out, box.Dir())

	for _, want := range []string{
		box.Dir() + ", stays until " + box.Expires().Local().Format(time.DateTime), "orders/0     psql -h 127.0.0.1 -p 5999 -U drctl\n",
		"drctl sandbox show " + box.Dir(), "drctl sandbox rm " + box.Dir(),
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("not said: %s\n%s", want, &out)
		}
	}

	if strings.Contains(out.String(), "s3cret") {
		t.Errorf("a password:\n%s", &out)
	}

	out.Reset()
	Left(&out, "/elsewhere/drill-2")

	if s := out.String(); !strings.Contains(s, "on the worker's host") || !strings.Contains(s, "drctl sandbox rm /elsewhere/drill-2") {
		t.Error(s)
	}
}

// The list says to which run a sandbox belongs, after the run has ended too, and
// finds what a command made that was given the directory.
func TestList(t *testing.T) {
	root := t.TempDir()
	box := kept(t, root)

	list, err := List(Roots(root)...)
	if err != nil || len(list) != 1 || list[0].Run != "shop:drill/nightly" || list[0].Dir != box.Dir() {
		t.Fatalf("%+v, %v", list, err)
	}

	var out strings.Builder
	if err := Table(&out, list); err != nil || !strings.Contains(out.String(), "shop:drill/nightly") {
		t.Errorf("%v\n%s", err, &out)
	}

	acc, err := sandbox.Accesses(box.Dir())
	if err != nil {
		t.Fatal(err)
	}

	out.Reset()
	Show(&out, acc)

	if want := "PGPASSWORD=s3cret psql -h 127.0.0.1 -p 5999 -U drctl\n"; !strings.HasSuffix(out.String(), want) {
		t.Error(out.String())
	}
}
