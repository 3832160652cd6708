package configured

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"drctl/config"
	"drctl/internal/servers"
)

// What somebody has to serve for a group: roles where its shards are, and every host
// that it names.
func TestServedAreRolesAndNamedHosts(t *testing.T) {
	t.Parallel()

	cfg, err := config.Parse([]byte(`version: 1
name: small
state_dir: /srv/state
key: {file: /srv/key}
regions:
  east: {vault: {url: "file:///srv/east"}}
  west: {vault: {url: "file:///srv/west"}, queue: elsewhere}
targets:
  orders:
    kind: postgres
    database: shop
    user: drctl
    shards:
      "0":
        east: {address: "127.0.0.1:1", role: primary, data_dir: /srv/pg, host: pg0}
        west: {address: "127.0.0.1:2", role: standby, host: pg9}
      "1":
        east: {address: "127.0.0.1:3", role: primary}
groups:
  shop: {targets: [orders]}
recovery:
  shop:
    destinations:
      orders:
        "0": {region: west, host: new, address: "127.0.0.1:4", data_dir: /srv/new}
sandbox: {hosts: {west: drill1}}
drills:
  nightly: {group: shop, vault: west}
`), "small.yaml")
	if err != nil {
		t.Fatal(err)
	}

	p := New(cfg, servers.Binaries{}, slog.New(slog.DiscardHandler))

	var got []string
	for _, q := range p.Served("shop") {
		got = append(got, fmt.Sprintf("%s (%s): %s", q.Queue, q.Region, strings.Join(q.For, ", ")))
	}

	want := []string{
		"drctl.small.east/archive (east): the observer of shop, the archiver of orders/0, the archiver of orders/1",
		"drctl.small.east (east): the cuts of shop, the bases of orders/0, the bases of orders/1",
		"drctl.small.east@pg0 (east): orders/0@east",
		"elsewhere@pg9 (west): orders/0@west",
		"elsewhere@new (west): the destination of orders/0",
		"elsewhere@drill1/sandbox (west): the drill nightly",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	g, err := p.Group("shop")
	if err != nil {
		t.Fatal(err)
	}

	// A base is read where the directory is; without one it comes over the network.
	if g.Shards[0].Host != "pg0" || g.Shards[1].Host != "" {
		t.Errorf("%+v", g.Shards)
	}

	if q := p.SandboxQueue("west"); q != "elsewhere@drill1/sandbox" {
		t.Error(q)
	}

	if q := p.SandboxQueue("east"); q != "" {
		t.Error(q)
	}
}
