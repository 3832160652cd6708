package gamedays

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	activity "drctl/activities/gamedays"
	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/drills/gameday"
	"drctl/internal/fail"
	"drctl/internal/servers"
	"drctl/internal/vault"
)

// desk is where people approve: a configuration, its vaults, and keys.
type desk struct {
	*testing.T
	dir  string
	keys []any // lines of ann and bob
	p    *configured.Platform
}

// production are drills on servers that are no lab's. The words of the first fault can be changed.
const production = `version: 1
name: small
state_dir: DIR/state
key: {file: DIR/key}
regions:
  east: {vault: {url: "file://DIR/east"}}
  west: {vault: {url: "file://DIR/west"}}
targets:
  orders:
    kind: postgres
    database: shop
    user: drctl
    shards:
      "0":
        east: {address: "127.0.0.1:1", role: primary, data_dir: /srv/pg}
        west: {address: "127.0.0.1:2", role: standby}
groups:
  shop: {targets: [orders]}
recovery:
  shop: {approvals: 2, approvers: {ann: {keys: [%q]}, bob: {keys: [%q]}}}
drills:
  loss: {group: shop, vault: west, game_day: {production: small, run: failover, fence: [/bin/true], faults: [{do: DO, on: orders/0@east}], expect: [{verdict: reached}]}}
  other: {group: shop, vault: west, game_day: {production: small, run: failover, fence: [/bin/true], faults: [{do: DO, on: orders/0@east}], expect: [{verdict: reached}]}}
`

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{T: t, dir: t.TempDir()}

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(filepath.Join(d.dir, "key"), []byte(key.Secret().Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set := ""

	for _, r := range []string{"east", "west"} {
		v, err := vault.Init(t.Context(), vault.Options{Region: r, Location: vault.Location{URL: "file://" + filepath.Join(d.dir, r)}, Key: key, Set: set})
		if err != nil {
			t.Fatal(err)
		}
		set = v.SetID()
	}

	d.keys = []any{d.key("ann"), d.key("bob")}
	d.key("eve")
	d.read("stop")

	return d
}

// read reads the configuration with a kind of fault.
func (d *desk) read(do string) {
	d.Helper()

	cfg, err := config.Parse([]byte(strings.NewReplacer("DIR", d.dir, "DO", do).Replace(fmt.Sprintf(production, d.keys...))), "small.yaml")
	if err != nil {
		d.Fatal(err)
	}

	d.p = configured.New(cfg, servers.Binaries{}, slog.New(slog.DiscardHandler))
}

// key makes the key of a person and returns its line.
func (d *desk) key(name string) string {
	d.Helper()

	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		d.Fatal(err)
	}

	block, err := ssh.MarshalPrivateKey(private, name)
	if err == nil {
		err = os.WriteFile(filepath.Join(d.dir, name), pem.EncodeToMemory(block), 0o600)
	}

	if err != nil {
		d.Fatal(err)
	}

	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		d.Fatal(err)
	}

	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

// approve has somebody approve a drill with a key.
func (d *desk) approve(drill, key, as string, length time.Duration) error {
	asJSON := false
	f := Faces{Out: io.Discard, Err: io.Discard, JSON: &asJSON,
		Offline: func() (*configured.Platform, *slog.Logger, error) { return d.p, slog.New(slog.DiscardHandler), nil }}

	return f.approve(d.Context(), drill, filepath.Join(d.dir, key), as, length, true)
}

// open reports whether the gate of the approvals is open for a drill.
func (d *desk) open(drill string) bool {
	d.Helper()

	def, err := Definition(d.p.Config, drill)
	if err != nil {
		d.Fatal(err)
	}

	plan, err := (Resolver{Platform: d.p}).Plan(def)
	if err != nil {
		d.Fatal(err)
	}

	set, err := vaultsOf(d.Context(), d.p, "shop")
	if err != nil {
		d.Fatal(err)
	}

	st := gameday.Standing{Lab: errors.New("it is none"), Plan: plan.Hash(), People: d.p.Approvers("shop"), Now: time.Now()}
	if st.Approvals, err = activity.Approvals(d.Context(), set, def, st.Plan); err != nil {
		d.Fatal(err)
	}

	for _, g := range gameday.Gates(def, st) {
		if g.Name == gameday.GateApprovals {
			return g.Passed
		}
	}

	d.Fatal("there is no such gate")

	return false
}

// Two people open the gate of the drill that they have read, with their own keys, and of no other.
func TestTwoPeopleApproveADrill(t *testing.T) {
	d := newDesk(t)

	for _, c := range []struct {
		name, key, as string
		length        time.Duration
	}{{"a stranger", "eve", "", time.Hour}, {"a stranger as somebody", "eve", "bob", time.Hour}, {"one for the other", "ann", "bob", time.Hour},
		{"for too long", "bob", "", 48 * time.Hour}, {"for no time", "bob", "", -time.Second}} {
		if err := d.approve("loss", c.key, c.as, c.length); !fail.Is(err, fail.Denied) {
			t.Errorf("%s: %v", c.name, err)
		}
	}

	for _, who := range []string{"ann", "ann", "bob"} {
		if d.open("loss") {
			t.Fatal("it is open before two have approved")
		}

		if err := d.approve("loss", who, "", time.Hour); err != nil {
			t.Fatalf("%s: %v", who, err)
		}

		time.Sleep(time.Second) // the times of approvals have seconds, and name them
	}

	if !d.open("loss") {
		t.Error("two have approved, and it is shut")
	}

	if d.open("other") {
		t.Error("what is approved is another drill")
	}

	d.read("kill")

	if d.open("loss") {
		t.Error("the drill was changed since")
	}

	d.read("stop")

	if !d.open("loss") {
		t.Error("it is the drill that was approved")
	}

	d.keys[1] = d.key("bob")
	d.read("stop")

	if d.open("loss") {
		t.Error("the key of bob has been changed since")
	}
}
