package targets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const value = "sesame-open-3f9a"

	s := NewSecret(value)
	if s.Reveal() != value || s.IsZero() {
		t.Fatalf("%q", s.Reveal())
	}

	if z := NewSecret(""); !z.IsZero() || z.Reveal() != "" || z != (Secret{}) {
		t.Error("an empty secret is one")
	}
	in := Instance{Kind: Postgres, Address: "db:5432", Password: s}
	hidden := struct{ secret Secret }{s} // fmt calls no method of what is not exported
	things := map[string]any{"value": s, "pointer": &s, "instance": in, "pointer to instance": &in, "slice": []Secret{s}, "map": map[string]Secret{"k": s},
		"hidden": hidden, "pointer to hidden": &hidden, "any": any(s), "error": fmt.Errorf("open: %v %w", s, errors.New("x"))}
	var out bytes.Buffer
	text := slog.New(slog.NewTextHandler(&out, nil))
	js := slog.New(slog.NewJSONHandler(&out, nil))

	leaks := func(how, printed string) {
		t.Helper()

		for _, form := range []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value), fmt.Sprintf("% x", value), fmt.Sprint([]byte(value))} {
			if strings.Contains(printed, form) {
				t.Errorf("%s: %s", how, printed)
			}
		}
	}
	for name, x := range things {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%b", "%o", "%c", "%U", "%e", "%t", "%p", "%T", "%10.3s"} {
			leaks(name+" with "+verb, fmt.Sprintf(verb, x))
		}

		leaks(name+" with Sprint", fmt.Sprint(x))

		b, err := json.Marshal(x)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}

		leaks(name+" as JSON", string(b))
		out.Reset()
		text.Info("x", "k", x, slog.Any("any", x), slog.Group("g", "k", x))
		js.Info("x", "k", x, slog.Any("any", x), slog.Group("g", "k", x))
		leaks(name+" in a log", out.String())
	}

	if b, err := json.Marshal(map[Secret]int{s: 1}); err != nil || strings.Contains(string(b), value) {
		t.Errorf("as a JSON key: %s, %v", b, err)
	}
}
