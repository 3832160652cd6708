package ownconf

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// What leads to the destination stays, whatever else is there; an address that is not
// of this host is never written, because a server would not start with it alone.
func TestChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()

	for _, c := range []struct {
		name, host, port       string
		ports, listen, sockets string
		want                   map[string]string
		byHand                 string
	}{
		{name: "as it is", host: "127.0.0.1", port: "5432", ports: "5432", listen: "*", sockets: "/tmp, @abstract"},
		{name: "every address of the family", host: "127.0.0.1", port: "5432", ports: "5432", listen: "::,0.0.0.0"},
		{name: "by name", host: "127.0.0.1", port: "5432", ports: "5432", listen: "localhost"},
		{name: "port", host: "127.0.0.1", port: "5433", ports: "5432", listen: "*", want: map[string]string{"port": "5433"}},
		{name: "of another host", host: "127.0.0.1", port: "5432", ports: "5432", listen: "203.0.113.1",
			want: map[string]string{"listen_addresses": "127.0.0.1"}},
		{name: "the other family", host: "::1", port: "5432", ports: "5432", listen: "0.0.0.0",
			want: map[string]string{"listen_addresses": "0.0.0.0,::1"}},
		{name: "sockets alone", host: "127.0.0.1", port: "5432", ports: "5432", want: map[string]string{"listen_addresses": "127.0.0.1"}},
		{name: "destination elsewhere", host: "203.0.113.9", port: "5432", ports: "5432", listen: "203.0.113.1", byHand: "203.0.113.9"},
		{name: "one place for sockets", host: "127.0.0.1", port: "5432", ports: "5432", listen: "*", sockets: `"/no/such", ` + dir,
			want: map[string]string{"unix_socket_directories": dir}},
		{name: "no place for sockets", host: "127.0.0.1", port: "5432", ports: "5432", listen: "*", sockets: "/no/such",
			want: map[string]string{"unix_socket_directories": "/tmp"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, byHand := changes(t.Context(), dir, c.host, c.port,
				map[string]string{"port": c.ports, "listen_addresses": c.listen, "unix_socket_directories": c.sockets})

			got := map[string]string{}
			for _, s := range set {
				got[s.name] = s.value
			}

			if !maps.Equal(got, c.want) || (byHand == "") != (c.byHand == "") || !strings.Contains(byHand, c.byHand) {
				t.Errorf("%v %q", got, byHand)
			}
		})
	}
}

func TestList(t *testing.T) {
	t.Parallel()

	if got := list(` a, "b c" ,,`); !slices.Equal(got, []string{"a", "b c"}) {
		t.Errorf("%q", got)
	}
}
