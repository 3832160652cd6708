package sandboxtest

import (
	"context"
	"path/filepath"
	"testing"

	"drctl/internal/servers"
	"drctl/targets"
)

// HAProxy starts one. Without a directory it gets one, and a port for every listen
// that has none, which is found in the spec.
func HAProxy(t testing.TB, s *servers.HAProxySpec) servers.Server {
	t.Helper()

	if s.Dir == "" {
		s.Dir = filepath.Join(Dir(t), "haproxy")
	}

	for i := range s.Listens {
		if s.Listens[i].Port == 0 {
			s.Listens[i].Port = port(t)
		}
	}

	p, err := Tools(t).StartHAProxy(context.Background(), *s)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = p.Kill() })

	return p
}

// PgBouncer starts one, whose user and admin is that of the test servers. Without a
// directory it gets one.
func PgBouncer(t testing.TB, s *servers.PgBouncerSpec) servers.Server {
	t.Helper()

	if s.Dir == "" {
		s.Dir = filepath.Join(Dir(t), "pgbouncer")
	}

	s.Users, s.Admins = map[string]targets.Secret{"drctl": targets.NewSecret(Password), "watcher": targets.NewSecret(Password)}, []string{"drctl"}

	p, err := Tools(t).StartPgBouncer(context.Background(), *s)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = p.Kill() })

	return p
}

func port(t testing.TB) int {
	t.Helper()

	n, err := servers.FreePort()
	if err != nil {
		t.Fatal(err)
	}

	return n
}
