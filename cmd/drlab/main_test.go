package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A command with a bad flag makes nothing.
func TestWrongFlags(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "never")
	for _, c := range []struct {
		says string
		args []string
	}{
		{"invalid argument", []string{"up", "--shards", "many"}},
		{"500MiB", []string{"up", "--size", "lots"}},
		{"accepts 2 arg", []string{"break", "region"}},
		{"[sandbox region] is required", []string{"check"}},
		{"missing [cut]", []string{"check", "--sandbox", "x"}},
		{"[region sandbox]", []string{"check", "--sandbox", "x", "--cut", "y", "--region", "west"}},
		{"[region through-proxies]", []string{"traffic", "--through-proxies", "--region", "west"}},
		{"has no use for it", []string{"fault", "cut", "west", "--by", "3s"}},
		{"has no use for it", []string{"fault", "stop", "east/carts/0", "--way", "in"}},
		{"accepts 1 arg", []string{"far"}},
		{"unknown command", []string{"nonsense"}},
	} {
		var out bytes.Buffer
		root := newApp(&out, &out).root()
		root.SetArgs(append(c.args, "--dir", dir))

		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want a word of %q", c.args, err, c.says)
		}
	}

	if _, err := os.Stat(dir); err == nil {
		t.Error("a command with a bad flag made its directory")
	}
}

// A lab that was never made says how one is.
func TestNoLab(t *testing.T) {
	for _, args := range [][]string{{"status"}, {"down"}, {"break", "region", "east"}, {"traffic"}, {"compare"}, {"far", "orders/0"}, {"check", "--sandbox", "x", "--cut", "y"},
		{"check", "--region", "west"}, {"traffic", "--through-proxies"}} {
		var out bytes.Buffer
		root := newApp(&out, &out).root()
		root.SetArgs(append(args, "--dir", t.TempDir()))

		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "drlab up --dir") {
			t.Errorf("%v: %v", args, err)
		}
	}
}
