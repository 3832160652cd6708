package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// With --log-format json everything that drctl up and its workers say is a
// record, and a worker that fails is an error of its own, however little is logged.
func TestUpLogsRecordsAlone(t *testing.T) {
	l, address := freePort(t)
	_ = l.Close()
	file, _ := vaultsOnly(t, fmt.Sprintf("{address: %q}", address))

	// Only a worker needs it.
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}

	_, err = f.WriteString("sandbox: {tools: {restic: /none/restic}}\n")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}

	build(t)

	for _, level := range []string{"info", "error"} {
		cmd := exec.CommandContext(t.Context(), programs.drctl, "--config", file, "--log-format", "json", "--log-level", level, "up")
		var logged bytes.Buffer
		cmd.Stderr = &logged

		var exit *exec.ExitError
		if err := cmd.Run(); !errors.As(err, &exit) {
			t.Fatalf("it should have failed: %v\n%s", err, &logged)
		}

		said := map[string]bool{}
		for line := range strings.Lines(logged.String()) {
			r := recordOf(t, line)
			if r["level"] == "ERROR" && strings.Contains(fmt.Sprint(r["err"]), "/none/restic") {
				said[fmt.Sprint(r["child"], ": ", r["msg"])] = true
			}
		}

		// The first to fail ends them all: a worker, or what watches them and needs the same.
		if !said["worker-east: drctl worker failed"] && !said["worker-west: drctl worker failed"] && !said["<nil>: up: nothing can be watched"] {
			t.Errorf("%s: nothing says why a worker failed:\n%s", level, &logged)
		}

		if !said["<nil>: drctl up failed"] {
			t.Errorf("%s: nothing says why drctl up failed:\n%s", level, &logged)
		}
	}
}

// recordOf reads a line that has to be a log record.
func recordOf(t *testing.T, line string) map[string]any {
	t.Helper()

	var r map[string]any
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("no record: %v: %s", err, line)
	}

	at, _ := r["time"].(string)
	_, err := time.Parse(time.RFC3339Nano, at)
	level, _ := r["level"].(string)

	if msg, _ := r["msg"].(string); err != nil || level == "" || msg == "" {
		t.Errorf("no time, level or message: %s", line)
	}

	return r
}
