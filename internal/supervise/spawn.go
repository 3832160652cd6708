package supervise

import (
	"context"
	"encoding/json"
	"log/slog"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// The kernel sends Pdeathsig when the *thread* that forked ends, and the Go
// runtime may end threads. So one thread that lasts as long as the process
// does all the forking.
var spawner struct {
	once sync.Once
	work chan func()
}

// StartCmd starts cmd from a thread that lives as long as this process, which
// makes SysProcAttr.Pdeathsig mean what one thinks it means.
func StartCmd(cmd *exec.Cmd) error {
	spawner.once.Do(func() {
		spawner.work = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range spawner.work {
				f()
			}
		}()
	})
	done := make(chan error, 1)
	spawner.work <- func() { done <- cmd.Start() }
	return <-done
}

// Forward writes one line of a child's output to log. A line that is a JSON
// record of slog keeps its level, message and attributes; any other is the
// message itself, at level info.
func Forward(log *slog.Logger, line string) {
	if line == "" {
		return
	}
	var m map[string]any
	if line[0] != '{' || json.Unmarshal([]byte(line), &m) != nil {
		log.Info(line)
		return
	}
	msg, ok := m["msg"].(string)
	if !ok {
		log.Info(line)
		return
	}
	level := slog.LevelInfo
	if s, ok := m["level"].(string); ok {
		_ = level.UnmarshalText([]byte(s))
	}
	ctx := context.Background()
	if !log.Enabled(ctx, level) {
		return
	}
	at := time.Now()
	if s, ok := m["time"].(string); ok {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			at = t
		}
	}
	r := slog.NewRecord(at, level, msg, 0)
	for _, k := range sortedKeys(m) {
		if k != "msg" && k != "level" && k != "time" {
			r.AddAttrs(slog.Any(k, m[k]))
		}
	}
	_ = log.Handler().Handle(ctx, r)
}
