package redis

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// Whatever keeps drctl from a server, the error names the instance and says what
// to do next.
func TestRefusalsSayWhatToDo(t *testing.T) {
	d := driver(t)
	real := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	must(t, dbClient(t, real, 0).Do(ctx, "ACL", "SETUSER", "ada", "on", ">right", "+@all").Err())
	web := httptest.NewServer(http.NotFoundHandler())
	address := web.Listener.Addr().String()
	gone := httptest.NewServer(http.NotFoundHandler())
	nobody := gone.Listener.Addr().String()

	gone.Close()
	t.Cleanup(web.Close)

	for _, c := range []struct {
		what   string
		change func(*targets.Instance)
		code   fail.Code
		hint   string
	}{
		{"a wrong password", func(in *targets.Instance) { in.User, in.Password = "ada", targets.NewSecret("wrong") }, fail.Denied, "check the user and the password"},
		{"no TLS there", func(in *targets.Instance) { in.TLS = "require" }, fail.Stalled, "tls: disable"},
		{"a web server", func(in *targets.Instance) { in.Address = address }, fail.Invalid, "another kind of server answers there"},
		{"nobody", func(in *targets.Instance) { in.Address = nobody }, fail.Unavailable, "check that a Redis server runs there"},
	} {
		in := real
		c.change(&in)

		_, err := d.Probe(ctx, in)
		if !fail.Is(err, c.code) || !strings.Contains(err.Error(), c.hint) || !strings.Contains(err.Error(), in.String()) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}
