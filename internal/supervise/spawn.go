package supervise

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"
)

// Forward writes one line of a child's output to log. A line that is a JSON
// record of slog keeps its level, message, time and attributes; any other is
// the message itself, at the level given.
func Forward(log *slog.Logger, plain slog.Level, line string) {
	if line == "" {
		return
	}
	ctx := context.Background()
	m := record(line)
	msg, ok := m["msg"].(string)
	if !ok {
		log.Log(ctx, plain, line)
		return
	}
	level := plain
	if s, ok := m["level"].(string); ok && level.UnmarshalText([]byte(s)) != nil {
		level = plain
	}
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

// record decodes a line of JSON, its numbers as they are written; nil when it
// is none.
func record(line string) map[string]any {
	if line[0] != '{' {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	var m map[string]any
	if d.Decode(&m) != nil {
		return nil
	}
	return m
}
