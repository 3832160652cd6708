package engine_test

import (
	"context"
	"strings"
	"testing"

	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
	"drctl/targets"
)

// An engine behind TLS is reached with what it asks for, and with anything less
// the error says at once that trying again does not help.
func TestDialThroughTLS(t *testing.T) {
	e := enginetest.Start(t, enginetest.Options(t))
	const key = "sesame-open-3f9a"
	ours, theirs := enginetest.NewAuthority(t), enginetest.NewAuthority(t)
	front, mutual, keyed := ours.Front(t, e, false), ours.Front(t, e, true), ours.KeyFront(t, e, key)
	trust := engine.TLS{CAFile: ours.CAFile, ServerName: enginetest.ServerName}
	with := func(t engine.TLS, change func(*engine.TLS)) *engine.TLS { change(&t); return &t }

	known := with(trust, func(t *engine.TLS) { t.CertFile, t.KeyFile = ours.CertFile, ours.KeyFile })
	for _, c := range []struct {
		name    string
		address string
		tls     *engine.TLS
		key     string
		want    fail.Code // "" is success
	}{
		{"server certificate", front, &trust, "", ""},
		{"client certificate", mutual, known, "", ""},
		{"API key", keyed, &trust, key, ""},

		{"another authority", front, with(trust, func(t *engine.TLS) { t.CAFile = theirs.CAFile }), "", fail.Denied},
		{"the system's authorities", front, &engine.TLS{ServerName: enginetest.ServerName}, "", fail.Denied},
		{"another name", front, with(trust, func(t *engine.TLS) { t.ServerName = "other.test" }), "", fail.Denied},
		{"the name in the address", front, with(trust, func(t *engine.TLS) { t.ServerName = "" }), "", fail.Denied},
		{"no client certificate", mutual, &trust, "", fail.Denied},
		{"another authority's client certificate", mutual, with(trust, func(t *engine.TLS) { t.CertFile, t.KeyFile = theirs.CertFile, theirs.KeyFile }), "", fail.Denied},
		{"certificate and key that do not match", mutual, with(trust, func(t *engine.TLS) { t.CertFile, t.KeyFile = ours.CertFile, theirs.KeyFile }), "", fail.Invalid},
		{"no API key", keyed, &trust, "", fail.Denied},
		{"a wrong API key", keyed, &trust, "sesame-shut-77c1", fail.Denied},
		{"plain text to TLS", front, nil, "", fail.Unavailable},
		{"TLS to plain text", enginetest.PlainFront(t, e), &trust, "", fail.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl, err := engine.Dial(t.Context(), engine.Options{Address: c.address, Namespace: e.Namespace, TLS: c.tls, APIKey: targets.NewSecret(c.key)})
			if err == nil {
				defer cl.Close()
				_, err = engine.Running(context.Background(), cl, "")
			}

			if fail.CodeOf(err) != c.want {
				t.Fatalf("got %v (%s), want %q", err, fail.CodeOf(err), c.want)
			}

			if err != nil && strings.Contains(err.Error(), "sesame") {
				t.Errorf("the key is in the error: %v", err)
			}

			if err != nil {
				t.Log(err)
			}
		})
	}

	if _, err := engine.Dial(t.Context(), engine.Options{Address: front, Namespace: "nobody", TLS: &trust}); !fail.Is(err, fail.NotFound) {
		t.Errorf("a namespace that is not there: %v", err)
	}
}
