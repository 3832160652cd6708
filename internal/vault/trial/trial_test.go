package trial

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/targets"
)

// A trial finds nothing wrong with a vault that works, and leaves it as it was.
func TestTrialLeavesNothing(t *testing.T) {
	for _, l := range []vault.Location{{URL: "file://" + t.TempDir() + "/v"}, s3Location(sandboxtest.S3(t, true))} {
		s := initVault(t, l)

		before := keysOf(t, s, "")
		if errs := Try(t.Context(), s); len(errs) > 0 {
			t.Fatal(l.URL, errs)
		}

		if after := keysOf(t, s, ""); len(after) != len(before) {
			t.Errorf("%s: before %v, after %v", l.URL, before, after)
		}
	}
}

// Every right that a vault's key lacks is told in one trial, and so is a server
// that writes over what is there.
func TestTrialNamesEveryLack(t *testing.T) {
	in := sandboxtest.S3(t, true)
	whole := initVault(t, s3Location(in))
	puts := 0
	var answer func(*http.Request) int
	front := sandboxtest.NewFront(t, in, func(r *http.Request) int { return answer(r) })
	in.Address = front.URL

	s, err := vault.OpenStore(t.Context(), s3Location(in))
	if err != nil {
		t.Fatal(err)
	}

	try := func(a func(*http.Request) int) []error {
		t.Helper()
		answer = a

		return Try(t.Context(), s)
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

	for _, key := range keysOf(t, whole, prefix) {
		answer = func(*http.Request) int { return 0 }

		if err := s.Delete(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
}

func s3Location(in targets.Instance) vault.Location {
	end := in.Address
	if !strings.Contains(end, "://") {
		end = "http://" + end
	}

	return vault.Location{URL: "s3://" + in.Database + "/trial", Endpoint: end, AccessKey: in.User, SecretKey: in.Password}
}

// initVault makes a vault and gives its store.
func initVault(t *testing.T, l vault.Location) vault.Store {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "east", Location: l, Key: key})
	if err != nil {
		t.Fatal(err)
	}

	return v.Store()
}

func keysOf(t *testing.T, s vault.Store, prefix string) []string {
	t.Helper()
	var keys []string

	for i, err := range s.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, i.Key)
	}

	return keys
}
