package sandboxtest

import (
	"os/exec"
	"testing"
)

// Mounts is the beginning of a command that sees mounts of its own, as on a host of its own: what
// follows is a program with its arguments, which may mount. It runs as the same user. Where neither
// this user nor a user namespace may mount (a container without rights), the test is skipped.
func Mounts(t testing.TB) []string {
	t.Helper()

	own := []string{"unshare", "--mount"}
	others := []string{"unshare", "--user", "--map-current-user", "--keep-caps", "--mount"}
	at := t.TempDir()

	var said []byte

	for _, with := range [][]string{own, others} {
		try := append(with[1:len(with):len(with)], "mount", "-t", "tmpfs", "tmpfs", at)

		var err error
		if said, err = exec.CommandContext(t.Context(), with[0], try...).CombinedOutput(); err == nil {
			return with
		}
	}

	t.Skipf("nothing can be mounted here, not even in a user namespace: %s", said)

	return nil
}
