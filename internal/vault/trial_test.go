package vault

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
)

// A trial finds nothing wrong with a vault that works, and leaves it as it was.
func TestTrialLeavesNothing(t *testing.T) {
	for _, b := range backends(t) {
		t.Run(b.name, func(t *testing.T) {
			v := initVault(t, "east", b.loc("trial"), testKey(t))

			before := keysOf(t, v.store, "")
			if errs := v.Try(t.Context()); len(errs) > 0 {
				t.Fatal(errs)
			}

			if after := keysOf(t, v.store, ""); len(after) != len(before) {
				t.Errorf("before %v, after %v", before, after)
			}
		})
	}
}

// Every right that a vault's key lacks is told in one trial, and so is a server
// that writes over what is there.
func TestTrialNamesEveryLack(t *testing.T) {
	in := sandboxtest.S3(t, true)
	v := initVault(t, "east", s3Location(in, "trial"), testKey(t))
	puts := 0
	var answer func(*http.Request) int
	front := sandboxtest.NewFront(t, in, func(r *http.Request) int { return answer(r) })
	in.Address = front.URL
	s := must(OpenStore(t.Context(), s3Location(in, "trial")))
	try := func(a func(*http.Request) int) []error {
		t.Helper()
		answer = a
		tried := &Vault{store: s}

		return tried.Try(t.Context())
	}

	denied := http.StatusForbidden

	refuse := func(method string) func(*http.Request) int {
		return func(r *http.Request) int {
			if r.Method == method {
				return denied
			}

			return 0
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		if errs := try(refuse(method)); len(errs) != 1 || !fail.Is(errs[0], fail.Denied) {
			t.Errorf("without %s: %v", method, errs)
		}
	}

	if errs := try(func(*http.Request) int { return denied }); len(errs) < 3 {
		t.Errorf("without anything: %v", errs)
	}

	errs := errors.Join(try(func(r *http.Request) int {
		if r.Method != http.MethodPut {
			return 0
		}

		if puts++; puts == 2 {
			return http.StatusOK // as by a server that does not know If-None-Match
		}

		return 0
	})...)
	if !fail.Is(errs, fail.Unsupported) || !strings.Contains(errs.Error(), "written over") {
		t.Errorf("written over: %v", errs)
	}

	for _, key := range keysOf(t, v.store, trialPrefix) {
		answer = func(*http.Request) int { return 0 }

		if err := s.Delete(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
}
