package lab

import (
	_ "embed"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/targets"
)

//go:embed drctl.yaml.tmpl
var configTemplate string

// HalfDone is how long a global transaction of the lab may be half done.
const HalfDone = 3 * time.Second

// Settings vary the lab's configuration.
type Settings struct {
	CutEvery string // "" means 5s
	Mode     string // of cuts; "" means gate
}

// Gated reports whether the shop's cross-shard transactions hold a gate.
func (s Settings) Gated() bool {
	return targets.Modes(s.Mode).Has(targets.ModeGate) || s.Mode == "share"
}

// WriteConfig writes drctl.yaml for this lab and returns its path.
func (l *Lab) WriteConfig(s Settings) (string, error) {
	if s.CutEvery == "" {
		s.CutEvery = "5s"
	}

	if s.Mode == "" {
		s.Mode = "gate"
	}

	t, err := template.New("drctl.yaml").Funcs(template.FuncMap{
		"route": proxyName, "databases": databases,
		"at": func(region string, id targets.ShardID) (targets.Instance, error) { return l.Instance(region, id) },
	}).Parse(configTemplate)
	if err != nil {
		return "", fail.New(fail.Internal, "lab: configuration", "template", "", err)
	}
	media := targets.ShardID{Target: "media", Shard: "0"}

	east, err := l.Instance(East, media)
	if err != nil {
		return "", err
	}

	west, err := l.Instance(West, media)
	if err != nil {
		return "", err
	}
	var b strings.Builder

	err = t.Execute(&b, map[string]any{"Dir": l.dir, "KeyFile": filepath.Join(l.dir, keyFile), "Engine": l.st.Engine, "Settings": s, "HalfDone": HalfDone, "Tools": l.tools, "East": east, "West": west,
		"Orders": l.Shards("orders"), "Carts": l.Shards("carts"), "Proxies": l.Proxies(), "Server": serverName})
	if err != nil {
		return "", fail.New(fail.Internal, "lab: configuration", "template", "", err)
	}

	path := filepath.Join(l.dir, "drctl.yaml")
	if err := atomicfile.Write(path, []byte(b.String()), 0o644); err != nil {
		return "", fail.FromOS("lab: write configuration", path, err)
	}

	return path, os.MkdirAll(filepath.Join(l.dir, "state"), 0o755)
}
