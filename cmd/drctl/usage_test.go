package main

import (
	"io"
	"strings"
	"testing"

	"drctl/internal/fail"
)

// A flag that would have no effect is wrong usage, whatever the configuration.
func TestFlagsWithoutEffect(t *testing.T) {
	root := newApp(io.Discard, io.Discard).root()
	root.SetArgs([]string{"restore", "run", "--sandbox-dir", "/elsewhere", "--config", "/nowhere.yaml"})
	err := root.ExecuteContext(t.Context())
	if fail.ExitCode(err) != 2 || !strings.Contains(err.Error(), "--sandbox-dir") || !strings.Contains(err.Error(), "--engine embedded") {
		t.Fatal(err)
	}
}
