package logs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"drctl/internal/logs"
)

// through forwards lines of a child and returns what is logged of them.
func through(t *testing.T, format, level string, lines ...string) string {
	t.Helper()

	log, b := newLog(t, format, level)
	s := logs.Stream{Log: log.With(logs.Child, "worker-east"), Plain: slog.LevelWarn}
	s.Read(strings.NewReader(strings.Join(lines, "\n")), nil)

	return b.String()
}

// A record of a child is that record, with the child's name and nothing else changed.
func TestRecordsComeThroughUnchanged(t *testing.T) {
	var b bytes.Buffer

	log := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	log.Error("a vault \"fails\"\nbadly", "err", fmt.Errorf("no\tway\x1b[31m"), "n", uint64(1)<<63, "f", 1.5, "z", nil, "yes", true,
		slog.Group("g", "b", 1, "a", slog.GroupValue(slog.String("deep", "x"))), "list", []any{1, "two", map[string]int{"three": 3}}, "none", struct{}{})

	got := through(t, logs.JSON, "debug", b.String())

	var was, is map[string]any
	if err := json.Unmarshal(b.Bytes(), &was); err != nil {
		t.Fatal(err)
	}

	if err := json.Unmarshal([]byte(got), &is); err != nil {
		t.Fatal(err)
	}

	if was["child"] = "worker-east"; !reflect.DeepEqual(was, is) {
		t.Errorf("%v\nwant %v", is, was)
	}

	if !strings.Contains(got, `"g":{"b":1,"a":{"deep":"x"}}`) || !strings.Contains(got, `"n":9223372036854775808`) {
		t.Errorf("order or figures have changed: %s", got)
	}

	if text := through(t, logs.Text, "debug", b.String()); !strings.Contains(text, `level=ERROR msg="a vault \"fails\"\nbadly" child=worker-east err="no\tway\x1b[31m"`) || strings.Contains(text, "{") && !strings.Contains(text, "none={}") {
		t.Errorf("as text: %s", text)
	}
}

// The child's own level decides what is logged.
func TestLevelsDecide(t *testing.T) {
	var lines []string
	for _, level := range []string{"DEBUG", "INFO", "WARN", "ERROR"} {
		lines = append(lines, fmt.Sprintf(`{"time":"2026-01-02T03:04:05.000000006Z","level":%q,"msg":"said"}`, level))
	}

	for i, level := range []string{"debug", "info", "warn", "error"} {
		got := through(t, logs.Text, level, lines...)
		if n := strings.Count(got, "msg=said"); n != 4-i || strings.Count(got, "time=2026-01-02T03:04:05.000Z") != n {
			t.Errorf("%s: %s", level, got)
		}
	}
}

// Whatever a child prints comes through, with the level that it deserves.
func TestLinesThatAreNoRecords(t *testing.T) {
	for line, want := range map[string]string{
		"some complaint":                   `level=WARN msg="some complaint"`,
		"drctl: flags: no such flag (-h)":  `level=ERROR msg="flags: no such flag (-h)"`,
		"drctl: warning: a thing":          `level=WARN msg="a thing"`,
		"drctl-engine: --dir is required":  `level=ERROR msg="--dir is required"`,
		`{"msg":"no level"}`:               `level=WARN msg="{\"msg\":\"no level\"}"`,
		`{"level":"ERROR"}`:                `level=WARN msg="{\"level\":\"ERROR\"}"`,
		`{"level":"LOUD","msg":"x"}`:       `level=WARN msg="{\"level\":\"LOUD\",\"msg\":\"x\"}"`,
		`{"level":"ERROR","msg":{"x":1}}`:  `level=WARN msg="{\"level\":\"ERROR\",\"msg\":{\"x\":1}}"`,
		"[1]":                              `level=WARN msg=[1]`,
		"{":                                `level=WARN msg={`,
		"fatal error: all are asleep":      `level=ERROR msg="fatal error: all are asleep"`,
		`{"level":"ERROR","msg":"x","a":1`: `level=ERROR msg=x child=worker-east a=1 broken=""`,
		`{"level":"ERROR","msg":"x","er`:   `level=ERROR msg=x child=worker-east broken=`,
		`{"level":"ERROR","msg":"x"} {"y"`: `level=ERROR msg=x child=worker-east broken="{\"y\""`,
		`{"level":"WARN","msg":"x","time":"noon","msg":"y","level":2,"child":"me"}`: `level=WARN msg=x child=worker-east its_time=noon its_msg=y its_level=2 its_child=me`,
	} {
		got := through(t, logs.Text, "debug", line)
		if !strings.Contains(got, want) || strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "time=20") {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}

	if got := through(t, logs.Text, "debug", "", "  ", "\t"); got != "" {
		t.Errorf("nothing: %s", got)
	}
}

// A panic is an error with its whole trace, up to the next record.
func TestAPanicIsAnError(t *testing.T) {
	got := through(t, logs.Text, "error", "panic: nil map", "", "goroutine 7 [running]:", "main.main()", "\t/src/main.go:7 +0x1d",
		`{"level":"INFO","msg":"alive"}`, "a complaint")
	if n := strings.Count(got, "level=ERROR"); n != 4 || !strings.Contains(got, "main.go:7") || strings.Contains(got, "complaint") {
		t.Errorf("%d lines of errors: %s", n, got)
	}
}

// A line that is too long is cut off, and keeps its level; the next is whole.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for _, first := range []string{`{"level":"ERROR","msg":"long","err":"` + long + `"}`, "panic: " + long} {
		got := strings.Split(strings.TrimSpace(through(t, logs.JSON, "error", first, `{"level":"ERROR","msg":"next"}`)), "\n")
		if len(got) != 2 || len(got[0]) > 300<<10 || len(got[0]) < 200<<10 || !strings.Contains(got[1], `"msg":"next"`) {
			t.Errorf("%.30s: %d lines, the first of %d bytes", first, len(got), len(got[0]))
		}
	}
}

// Whatever a line holds: one record or none, always whole JSON, and a record that
// slog has written is that record.
func FuzzLine(f *testing.F) {
	for _, s := range []string{"", "{}", "panic: x", `{"level":"INFO","msg":"m"}`, `{"time":"2026-01-02T03:04:05Z","level":"ERROR","msg":"m","a":{"b":[1,{"c":null}]}}`,
		`{"level":"WARN","msg":"m","a":`, `{"level":"WARN","msg":"m"} x`, strings.Repeat(`{"a":`, 50), `{"level":"INFO+3","msg":"\ud800","": 1e999}`, "\xff\x00\x1b[2J"} {
		f.Add(s)
	}

	f.Fuzz(func(t *testing.T, line string) {
		if i := strings.IndexAny(line, "\r\n"); i >= 0 {
			line = line[:i]
		}

		got := through(t, logs.JSON, "debug", line)
		if strings.TrimSpace(line) == "" {
			if got != "" {
				t.Fatalf("%q: %q", line, got)
			}

			return
		}

		var m map[string]any
		d := json.NewDecoder(strings.NewReader(got))
		d.UseNumber() // a number may be larger than any of Go's

		if err := d.Decode(&m); err != nil || strings.Count(got, "\n") != 1 {
			r, ok := logs.Decode(line)
			if ok && r.Level < slog.LevelDebug { // below what is logged
				return
			}

			t.Fatalf("%q: %v: %q", line, err, got)
		}

		for _, k := range []string{"time", "level", "msg"} {
			if _, is := m[k].(string); !is {
				t.Errorf("%q: no %s: %s", line, k, got)
			}
		}

		var b bytes.Buffer
		slog.New(slog.NewJSONHandler(&b, nil)).Info(line, "text", line)

		r, ok := logs.Decode(strings.TrimSpace(b.String()))
		if !ok || r.Level != slog.LevelInfo || time.Since(r.Time) > time.Hour || r.Message != strings.ToValidUTF8(r.Message, "?") {
			t.Errorf("%q is not read back: %+v", &b, r)
		}

		attrs := map[string]string{}
		r.Attrs(func(a slog.Attr) bool { attrs[a.Key] = a.Value.String(); return true })

		if !maps.Equal(attrs, map[string]string{"text": r.Message}) {
			t.Errorf("%q: %v", &b, attrs)
		}
	})
}
