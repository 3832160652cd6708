package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"drctl/config/checks"
	"drctl/config/recovery"
	"drctl/config/workers"
	"drctl/internal/fail"
	"drctl/targets"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func example(t testing.TB) *Config {
	t.Helper()

	c, err := Load("example.yaml", func(k string) (string, bool) { return "value of " + k, true })
	if err != nil {
		t.Fatal(err)
	}

	return c
}

func TestExample(t *testing.T) {
	c := example(t)
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("the example has warnings: %v", w)
	}

	var names []string
	for _, id := range c.Shards("shop") {
		names = append(names, id.String())
	}

	if got := strings.Join(names, " "); got != "carts/0 media/0 orders/0 orders/1" {
		t.Errorf("shards: %s", got)
	}
	media := targets.ShardID{Target: "media", Shard: "0"}

	in, err := c.Instance(context.Background(), media, "east")
	if err != nil {
		t.Fatal(err)
	}

	if in.Kind != targets.S3 || in.Address != "https://s3.east.example.com" || in.Database != "shop-media" || in.User != "drctl-media" ||
		in.Password.Reveal() != "value of DRCTL_MEDIA_SECRET" || in.Role != targets.Primary {
		t.Errorf("instance: %+v", in)
	}

	if _, err := c.Instance(context.Background(), media, "west"); !fail.Is(err, fail.NotFound) {
		t.Errorf("absent instance: %v", err)
	}

	p, err := c.Policy("shop")
	if err != nil || p.Cut.Lease != 3*time.Second || p.Stream.ChunkSize != 16<<20 || p.Retention.Cuts != 168*time.Hour {
		t.Errorf("policy: %+v %v", p, err)
	}

	if d := c.Drills["nightly"]; d.Checks.Sums[0].Want != "4000000" || d.Checks.Assertions["orders"][0].Shard != checks.All {
		t.Errorf("drill: %+v", d)
	}
}

// A file with all that is mandatory and nothing else: every default shows.
const minimal = `version: 1
name: small
key: {env: KEY}
regions:
  east: {vault: {url: file:///srv/east}}
  west: {vault: {url: file:///srv/west}}
targets:
  orders:
    kind: postgres
    database: shop
    user: drctl
    shards:
      0: {east: {address: "127.0.0.1:5432", role: primary}, west: {address: "127.0.0.1:5433", role: standby}}
groups:
  shop: {targets: [orders], gate: orders/0}
drills:
  weekly: {group: shop}
`

func TestDefaults(t *testing.T) {
	c, err := Parse([]byte(minimal), "minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}

	got, err := c.Show()
	if err != nil {
		t.Fatal(err)
	}

	golden(t, "testdata/minimal.golden.yaml", got)
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()

	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	if !bytes.Equal(want, got) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

// TestShowIsStable: what Show prints means the same as the file it came from.
func TestShowIsStable(t *testing.T) {
	raw, err := os.ReadFile("example.yaml")
	if err != nil {
		t.Fatal(err)
	}

	for name, text := range map[string][]byte{"minimal": []byte(minimal), "example": bytes.Replace(raw, []byte(", read, shop/redis]"), []byte("]"), 1)} {
		c, err := Parse(text, name)
		if err != nil {
			t.Fatal(err)
		}

		shown, err := c.Show()
		if err != nil {
			t.Fatal(err)
		}

		asJSON, err := c.ShowJSON()
		if err != nil || !json.Valid(asJSON) {
			t.Fatalf("%s: no JSON: %v\n%s", name, err, asJSON)
		}

		for _, shown := range [][]byte{shown, asJSON} {
			again, err := Parse(shown, name+" shown")
			if err != nil {
				t.Fatalf("%s: what Show printed is refused: %v\n%s", name, err, shown)
			}

			if c.Hash() != again.Hash() {
				t.Errorf("%s: the hash changed", name)
			}

			if err := validate(t, shown); err != nil {
				t.Errorf("%s: the schema refuses what Show printed: %v", name, err)
			}
		}
	}
}

func TestHash(t *testing.T) {
	one, err := Parse([]byte(minimal), "a")
	if err != nil {
		t.Fatal(err)
	}

	same, err := Parse([]byte(strings.Replace(minimal, "name: small\nkey: {env: KEY}", "# a remark\nkey:\n  env: KEY\nname: \"small\"", 1)), "b")
	if err != nil {
		t.Fatal(err)
	}

	other, err := Parse([]byte(minimal+"policies: {standard: {cut: {every: 30s}}}\n"), "c")
	if err != nil {
		t.Fatal(err)
	}

	if one.Hash() != same.Hash() || one.Hash() == other.Hash() || len(one.Hash()) != 64 {
		t.Errorf("hashes: %s %s %s", one.Hash(), same.Hash(), other.Hash())
	}
}

// TestBad runs every testdata/bad/*.yaml; the mistakes that are expected are
// in the .golden beside it. A first line "# schema: refuses" says that the
// JSON Schema must refuse the file too; without it the schema must take it,
// unless it is not YAML at all.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d bad files, %v", len(files), err)
	}

	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(text, filepath.Base(f))

			var errs Errors
			if !errors.As(err, &errs) || !fail.Is(err, fail.Invalid) {
				t.Fatalf("taken, or not an Errors: %v", err)
			}

			var b bytes.Buffer
			for _, m := range errs {
				fmt.Fprintln(&b, m)

				if m.Line < 1 || m.Col < 1 {
					t.Errorf("no place: %s", m)
				}
			}

			golden(t, strings.TrimSuffix(f, ".yaml")+".golden", b.Bytes())

			head, _, _ := bytes.Cut(text, []byte("\n"))
			switch {
			case bytes.Contains(head, []byte("schema: refuses")):
				if validate(t, text) == nil {
					t.Error("the JSON Schema takes it")
				}
			case bytes.Contains(head, []byte("schema: takes")):
				if err := validate(t, text); err != nil {
					t.Errorf("the JSON Schema refuses it: %v", err)
				}
			case !bytes.Contains(head, []byte("schema: none")):
				t.Error("the first line does not say what the schema does")
			}
		})
	}
}

func validate(t *testing.T, text []byte) error {
	t.Helper()

	raw, err := Schema()
	if err != nil {
		t.Fatal(err)
	}

	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}

	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}

	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}

	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		return err
	}

	j, err := json.Marshal(stringKeys(v))
	if err != nil {
		t.Fatal(err)
	}

	inst, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
	if err != nil {
		t.Fatal(err)
	}

	return s.Validate(inst)
}

// stringKeys does what editors do: YAML keys become JSON keys.
func stringKeys(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			x[k] = stringKeys(e)
		}
	case map[any]any:
		out := map[string]any{}
		for k, e := range x {
			out[fmt.Sprint(k)] = stringKeys(e)
		}

		return out
	case []any:
		for i := range x {
			x[i] = stringKeys(x[i])
		}
	}

	return v
}

func TestSchemaTakesExample(t *testing.T) {
	raw, err := os.ReadFile("example.yaml")
	if err != nil {
		t.Fatal(err)
	}

	if err := validate(t, raw); err != nil {
		t.Error(err)
	}

	if err := validate(t, []byte(minimal)); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, p := range append(files, "example.yaml") {
		b, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}

		f.Add(b)
	}

	f.Add([]byte(minimal))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b, "fuzz.yaml")
		if err != nil {
			var errs Errors
			if !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("not an Errors: %v", err)
			}

			return
		}

		shown, err := c.Show()
		if err != nil {
			t.Fatal(err)
		}

		if _, err := Parse(shown, "shown"); err != nil {
			t.Fatalf("what Show printed is refused: %v\n%s", err, shown)
		}
	})
}

func TestPorts(t *testing.T) {
	c := &Config{
		Targets: map[string]*Target{
			"orders": {Shards: map[string]Shard{"0": {"east": {Address: "pg.example.com:5432"}, "west": {Address: "127.0.0.1:15432"}}}},
			"media":  {Shards: map[string]Shard{"0": {"east": {Endpoint: "http://127.0.0.1:9000"}}}},
		},
		Recovery: map[string]*recovery.Recovery{"shop": {Destinations: map[string]map[string]workers.Destination{"orders": {"0": {Address: "pg2:6543"}}}}},
	}
	if got, want := c.Ports(), []int{5432, 6543, 9000, 15432}; !slices.Equal(got, want) {
		t.Errorf("ports %v, want %v", got, want)
	}
}
