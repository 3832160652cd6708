package gamedays

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"drctl/config"
	"drctl/internal/fail"
)

// labFile is where drlab writes down its servers.
const labFile = "lab.json"

// Lab says why the servers of the configuration are not those of a lab: every one of them has to
// be on the list that drlab keeps of its servers, by its port on loopback, and by its data directory.
func (r Resolver) Lab() error { return isLab(r.Config) }

func isLab(cfg *config.Config) error {
	no := func(format string, args ...any) error { return fail.Newf(fail.Denied, op, cfg.Name, format, args...) }

	if cfg.Lab == "" {
		return no("the configuration names no lab")
	}

	b, err := os.ReadFile(filepath.Join(cfg.Lab, labFile))
	if err != nil {
		return fail.FromOS(op, cfg.Lab, err)
	}

	var lab struct {
		Servers []struct {
			Port int    `json:"port"`
			Dir  string `json:"dir"`
		} `json:"servers"`
		Lines []struct {
			Port int `json:"port"`
		} `json:"lines"`
	}
	if err := json.Unmarshal(b, &lab); err != nil {
		return fail.New(fail.Corrupt, op, cfg.Lab, "", err)
	}

	ports, dirs := map[string]bool{}, map[string]bool{}
	for _, s := range lab.Servers {
		ports[strconv.Itoa(s.Port)], dirs[s.Dir] = true, true
	}

	for _, l := range lab.Lines {
		ports[strconv.Itoa(l.Port)] = true
	}

	for _, group := range cfg.GroupNames() {
		for _, id := range cfg.Shards(group) {
			for region, in := range cfg.Targets[id.Target].Shards[id.Shard] {
				at := in.Address
				if u, err := url.Parse(in.Endpoint); in.Endpoint != "" && err == nil {
					at = u.Host
				}
				host, port, _ := net.SplitHostPort(at)

				if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() || !ports[port] || in.DataDir != "" && !dirs[in.DataDir] {
					return no("%s is none of the lab's servers: %s", fmt.Sprintf("%s@%s", id, region), at)
				}
			}
		}
	}

	return nil
}
