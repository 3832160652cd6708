package restic

import (
	"errors"
	"fmt"
	"strings"

	"drctl/internal/fail"
)

// restic's exit codes.
const (
	exitIncomplete  = 3
	exitNoRepo      = 10
	exitLocked      = 11
	exitPassword    = 12
	exitInterrupted = 130
)

func (r *Repo) fail(op string, code fail.Code, hint string, err error) *fail.Error {
	return fail.New(code, "restic: "+op, r.Location, hint, err)
}

// signs are texts of restic and of what is below it that say what kind of
// failure it is, in the order of trust.
var signs = []struct {
	text string
	code fail.Code
	hint string
}{
	{"no space left on device", fail.Exhausted, "make room on the volume and repeat"},
	{"disk quota exceeded", fail.Exhausted, "make room on the volume and repeat"},
	{"permission denied", fail.Denied, "run as a user that may read the source and write the target"},
	{"Access Denied", fail.Denied, "allow the vault's access key to read and write the repository"},
	{"AccessDenied", fail.Denied, "allow the vault's access key to read and write the repository"},
	{"SignatureDoesNotMatch", fail.Denied, "check the vault's access key and secret key"},
	{"ciphertext verification failed", fail.Corrupt, damaged},
	{"invalid data returned", fail.Corrupt, damaged},
	{"file is too short", fail.Corrupt, damaged},
	{"not found in repository", fail.Corrupt, damaged},
	{"not found in any index", fail.Corrupt, damaged},
	{"unexpected file size", fail.Corrupt, damaged},
	{"unexpected pack id", fail.Corrupt, damaged},
	{"does not exist", fail.Corrupt, damaged},
	{"no such file or directory", fail.NotFound, ""},
	{"no matching ID found", fail.NotFound, "the base's snapshot is not in this vault; mirror it from another region"},
	{"not found in snapshot", fail.NotFound, ""},
	{"connection refused", fail.Unavailable, "check that the S3 endpoint is up and reachable from here"},
	{"i/o timeout", fail.Unavailable, "check that the S3 endpoint is up and reachable from here"},
	{"no such host", fail.Unavailable, "check the S3 endpoint's name"},
}

const damaged = "the repository is damaged; find the extent with drctl backup verify and repair it from another region's vault"

// check turns a non-zero exit into an error that carries restic's own words.
func (r *Repo) check(op string, res result) error {
	if res.exit == 0 {
		return nil
	}

	cause := res.cause()
	switch res.exit {
	case exitNoRepo:
		// Nothing there and nobody there look the same to restic.
		if code, hint := classify(cause.Error()); code == fail.Unavailable || code == fail.Denied {
			return r.fail(op, code, hint, cause)
		}

		return r.fail(op, fail.NotFound, "no base of this shard has been stored here, or the repository is lost", cause)
	case exitLocked:
		return r.fail(op, fail.Stalled, "another restic holds the repository; if its host is gone, run restic unlock there", cause)
	case exitPassword:
		return r.fail(op, fail.Denied, "the repository was not made with this vault's restic password", cause)
	case exitInterrupted:
		return r.fail(op, fail.Unavailable, "", cause)
	case exitIncomplete:
		return r.fail(op, fail.Denied, "give the worker read access to every file, or exclude them", cause)
	}
	code, hint := classify(res.text())

	return r.fail(op, code, hint, cause)
}

func classify(text string) (fail.Code, string) {
	for _, s := range signs {
		if strings.Contains(text, s.text) {
			return s.code, s.hint
		}
	}

	return fail.Unavailable, ""
}

func (res result) text() string {
	var b strings.Builder
	for _, e := range res.errors {
		b.WriteString(e + "\n")
	}

	for _, i := range res.items {
		b.WriteString(i.message + "\n")
	}

	b.WriteString(res.fatal)

	return b.String()
}

// cause is a short account: the final message and the first errors.
func (res result) cause() error {
	var parts []string
	add := func(s string) {
		if s = strings.Join(strings.Fields(strings.TrimPrefix(s, "Fatal: ")), " "); s != "" && len(parts) < 4 {
			parts = append(parts, s)
		}
	}
	add(res.fatal)

	for _, i := range res.items {
		add(i.item + ": " + i.message)
	}

	for _, e := range res.errors {
		add(e)
	}

	if len(parts) == 0 {
		return fmt.Errorf("restic ended with status %d", res.exit)
	}

	return errors.New(strings.Join(parts, "; "))
}
