package main

import (
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/answer/answertest"
)

// asDocumented makes sure that what drctl printed as JSON has the shape that the
// documentation gives it. Every command of every test is held against it.
func (r result) asDocumented(t *testing.T, program string) {
	t.Helper()

	if program != "drctl" || !slices.Contains(r.args, "--json") || r.out == "" || r.code < 0 { // below 0 it was killed
		return
	}

	c, _, err := newApp(io.Discard, io.Discard).root().Find(r.args)
	if err != nil {
		return
	}

	if err := answertest.Fits(pathOf(c), []byte(r.out)); err != nil {
		t.Errorf("not as documented: %v: %s", err, r)
	}
}

// pathOf is a command's path below drctl.
func pathOf(c *cobra.Command) string { return strings.TrimPrefix(c.CommandPath(), "drctl ") }

// program is what the command line runs, without what stands before it.
func (p *process) program() string { return filepath.Base(p.cmd.Args[len(p.cmd.Args)-len(p.args)-1]) }

// TestEveryCommandIsDocumented: no command answers in JSON that the documentation
// does not describe, and it describes none that is not there.
func TestEveryCommandIsDocumented(t *testing.T) {
	listed := map[string]bool{}
	for _, a := range answer.All() {
		listed[a.Command] = true
	}
	text := []string{"config example", "guard", "detection watch"} // the first prints a file, the others nothing but their log

	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}

		if c.HasSubCommands() || c.Hidden {
			return
		}

		if !listed[pathOf(c)] && !slices.Contains(text, pathOf(c)) {
			t.Errorf("%s is not described", pathOf(c))
		}

		delete(listed, pathOf(c))
	}
	walk(newApp(io.Discard, io.Discard).root())

	for name := range listed {
		t.Errorf("there is no command %s", name)
	}
}
