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
	"drctl/internal/lab/lines"
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

// WriteConfig writes drctl.yaml for this lab and returns its path. In a lab with lines it is the view from
// outside, and beside it are the views of the regions, east.yaml and west.yaml.
func (l *Lab) WriteConfig(s Settings) (string, error) {
	if s.CutEvery == "" {
		s.CutEvery = "5s"
	}

	if s.Mode == "" {
		s.Mode = "gate"
	}

	path := filepath.Join(l.dir, "drctl.yaml")
	views := map[string]string{lines.Outside: path}

	if l.Lined() {
		for _, region := range []string{East, West} {
			views[region] = filepath.Join(l.dir, region+".yaml")
		}
	}

	for viewer, path := range views {
		text, err := l.view(viewer, s)
		if err != nil {
			return "", err
		}

		if err := atomicfile.Write(path, []byte(text), 0o644); err != nil {
			return "", fail.FromOS("lab: write configuration", path, err)
		}
	}

	return path, os.MkdirAll(filepath.Join(l.dir, "state"), 0o755)
}

// view is the configuration of a place, which finds every server where its line begins.
func (l *Lab) view(viewer string, s Settings) (string, error) {
	at := func(region string, id targets.ShardID) (targets.Instance, error) {
		in, err := l.Instance(region, id)
		return l.seen(viewer, in), err
	}

	t, err := template.New("drctl.yaml").Funcs(template.FuncMap{
		"route": proxyName, "databases": databases, "at": at,
		"asked": func(p Server) string { return l.reach(viewer, p.Name, Server{Port: p.asked()}.Address()) },
		// Proxies are outside, whoever points them.
		"outside": func(region string, id targets.ShardID) (targets.Instance, error) {
			in, err := l.Instance(region, id)
			return l.seen(lines.Outside, in), err
		},
	}).Parse(configTemplate)
	if err != nil {
		return "", fail.New(fail.Internal, "lab: configuration", "template", "", err)
	}
	media := targets.ShardID{Target: "media", Shard: "0"}

	east, err := at(East, media)
	if err != nil {
		return "", err
	}

	west, err := at(West, media)
	if err != nil {
		return "", err
	}

	var third string
	if l.Lined() {
		in, err := at(lines.Outside, witness)
		if err != nil {
			return "", err
		}
		third = in.Address
	}
	var b strings.Builder

	err = t.Execute(&b, map[string]any{"Dir": l.dir, "KeyFile": filepath.Join(l.dir, keyFile), "Engine": l.reach(viewer, engineName, Server{Port: l.st.Engine}.Address()), "Settings": s, "HalfDone": HalfDone, "Tools": l.tools, "East": east, "West": west,
		"Witness": third, "Orders": l.Shards("orders"), "Carts": l.Shards("carts"), "Proxies": l.Proxies(), "Server": serverName})
	if err != nil {
		return "", fail.New(fail.Internal, "lab: configuration", "template", "", err)
	}

	return b.String(), nil
}
