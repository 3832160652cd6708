package route

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"drctl/config/secret"
)

// Problem is what is wrong with a key of a route.
type Problem struct{ Key, Text, Hint string }

// hooks are those that drctl calls.
var hooks = []string{"read", "hold", "isolate", "point", "release", "undo"}

// Leads lists the regions that a route can be pointed to, sorted.
func (r *Route) Leads() []string {
	switch {
	case len(r.Backends) > 0:
		return slices.Sorted(maps.Keys(r.Backends))
	case len(r.Records) > 0:
		return slices.Sorted(maps.Keys(r.Records[0].Values))
	}

	return slices.Sorted(slices.Values(r.Regions))
}

// Holds reports whether the route can keep clients waiting without an error.
func (r *Route) Holds() bool {
	_, command := r.Commands["hold"]
	_, request := r.Requests["hold"]

	return r.Kind == "pgbouncer" || command || request
}

// Refs are the secrets of the route, by key.
func (r *Route) Refs() map[string]secret.Ref {
	out := map[string]secret.Ref{"password": r.Password, "secret_key": r.SecretKey}
	for k, v := range r.Env {
		out["env."+k] = v
	}

	for k, v := range r.Headers {
		out["headers."+k] = v
	}

	return out
}

// Check lists what is wrong with a route whose values were read well. regions are those
// of the platform, shards those of the group with their kinds.
func (r *Route) Check(regions []string, shards map[string]string) []Problem {
	var out []Problem
	wrong := func(key, hint, format string, args ...any) {
		out = append(out, Problem{key, fmt.Sprintf(format, args...), hint})
	}

	kind, there := shards[r.Shard]
	switch {
	case (r.Shard == "") == (r.Service == ""):
		wrong("", "give shard or service", "a route leads to one shard or to one service")
	case r.Shard != "" && !there:
		wrong("shard", "", "there is no shard %q in the group", r.Shard)
	case r.Kind == "pgbouncer" && r.Shard != "" && kind != "postgres":
		wrong("shard", "", "PgBouncer leads to no shard of kind %s", kind)
	}

	if r.In != "" && !slices.Contains(regions, r.In) {
		wrong("in", "", "there is no region %q", r.In)
	}

	for _, name := range r.Leads() {
		if !slices.Contains(regions, name) {
			wrong(r.leadsKey(), "", "there is no region %q", name)
		}
	}

	if r.Kind != "pgbouncer" && len(r.Leads()) < 2 {
		wrong("", "name the place of another region too", "clients cannot be moved: the route knows %d regions", len(r.Leads()))
	}

	switch r.Kind {
	case "haproxy":
		r.checkHAProxy(wrong)
	case "pgbouncer":
		r.checkPgBouncer(wrong)
	case "route53":
		r.checkRoute53(wrong)
	case "exec", "http":
		r.checkHooks(wrong)
	}

	return out
}

// leadsKey is the key that names the regions.
func (r *Route) leadsKey() string {
	switch r.Kind {
	case "haproxy", "pgbouncer":
		return "backends"
	case "route53":
		return "records"
	}

	return "regions"
}

type wrong func(key, hint, format string, args ...any)

func (r *Route) checkHAProxy(wrong wrong) {
	if len(r.Sockets) == 0 || r.Backend == "" {
		wrong("", "", "a route of HAProxy needs sockets and a backend")
	}

	for region, b := range r.Backends {
		if _, err := netip.ParseAddrPort(b.Address); b.Address != "" && err != nil {
			wrong("backends."+region+".address", "the runtime API takes ip:port", "%q is no IP address with a port", b.Address)
		}

		if b.Server == "" {
			wrong("backends."+region, "name the server of HAProxy's backend", "the key \"server\" is missing")
		}
	}

	r.distinct(wrong)
}

func (r *Route) checkPgBouncer(wrong wrong) {
	if len(r.Poolers) == 0 || r.Database == "" || r.User == "" {
		wrong("", "", "a route of PgBouncer needs poolers, a database and a user")
	}

	files := 0
	for _, p := range r.Poolers {
		if p.File != "" {
			files++
		}
	}

	switch {
	case files != 0 && files != len(r.Poolers):
		wrong("poolers", "give each a file, or none", "some poolers have a file and some have none")
	case files > 0 && len(r.Backends) < 2:
		wrong("", "name the place of another region too", "clients cannot be moved: the route knows %d regions", len(r.Backends))
	}

	for region, b := range r.Backends {
		if b.Address == "" || b.Server != "" {
			wrong("backends."+region, "write address: host:port", "a backend of PgBouncer is an address")
		}
	}

	r.distinct(wrong)
}

// distinct finds regions with the same backend: nobody could tell where clients go.
func (r *Route) distinct(wrong wrong) {
	seen := map[Backend]string{}
	for _, region := range slices.Sorted(maps.Keys(r.Backends)) {
		b := *r.Backends[region]
		if other, ok := seen[b]; ok {
			wrong("backends."+region, "", "region %s has the same backend", other)
		}
		seen[b] = region
	}
}

func (r *Route) checkRoute53(wrong wrong) {
	if r.Zone == "" || len(r.Records) == 0 {
		wrong("", "", "a route of Route 53 needs a zone and records")
	}

	if (r.AccessKey == "") != r.SecretKey.IsZero() {
		wrong("", "", "access_key and secret_key are given together or not at all")
	}

	for i, rec := range r.Records {
		if !slices.Equal(slices.Sorted(maps.Keys(rec.Values)), r.Leads()) {
			wrong(fmt.Sprintf("records.%d.values", i), "give every record values for the same regions", "the record %s has values for other regions than the first", rec.Name)
		}
	}
}

func (r *Route) checkHooks(wrong wrong) {
	key, have := "commands", slices.Sorted(maps.Keys(r.Commands))
	if r.Kind == "http" {
		key, have = "requests", slices.Sorted(maps.Keys(r.Requests))
	}

	has := func(hook string) bool { return slices.Contains(have, hook) }
	if !has("read") || !has("point") {
		wrong(key, "what is changed is read back", "the hooks read and point are needed")
	}

	if has("release") != (has("hold") || has("isolate")) {
		wrong(key, "", "hold or isolate, and release, are given together or not at all")
	}

	for _, h := range have {
		if !slices.Contains(hooks, h) {
			wrong(key+"."+h, "use "+strings.Join(hooks, ", "), "there is no hook %q", h)
		}

		if run := r.Commands[h].Run; r.Kind == "exec" && (len(run) == 0 || !filepath.IsAbs(run[0])) {
			wrong(key+"."+h, "run: [/usr/local/bin/program, argument]", "a hook is the absolute path of a program and its arguments")
		}

		if r.Kind == "http" && !plainURL(r.Requests[h].URL) {
			wrong(key+"."+h+".url", "secrets are given under headers", "this is no http or https URL without a password")
		}
	}
}

func plainURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}
