package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/lab/lines"
	"drctl/internal/servers"
	"drctl/targets"
)

// The two regions of a lab. The primaries are in East.
const (
	East = "east"
	West = "west"
)

// Options describe a lab.
type Options struct {
	Dir    string // made if absent; must be a lab or empty
	Shards int    // PostgreSQL shards; 0 means 4
	Redis  int    // Redis masters; 0 means 2
	Tools  servers.Binaries
	// Proxies adds a PgBouncer before each PostgreSQL shard and a HAProxy before each
	// Redis master. A lab that has them keeps them.
	Proxies bool
	// Lines puts a line between every place and every server of another one, which can be cut. Given when a lab
	// is made; it keeps them. Program is drlab, which carries them.
	Lines   bool
	Program string
	// Clocks gives every server of PostgreSQL and Redis a clock that can step. Given when a lab is made; it keeps them.
	Clocks bool
	// Progress is told what is being started.
	Progress func(string)
}

// Server is one server of the lab.
type Server struct {
	Name   string          `json:"name"`   // "east/orders/0", or "proxy/orders/0"
	Region string          `json:"region"` // "" of a proxy, which is lost with no region
	Shard  targets.ShardID `json:"shard"`
	Kind   targets.Kind    `json:"kind"`
	Role   targets.Role    `json:"role"`
	Port   int             `json:"port"`
	// Runtime is the port of a HAProxy's runtime API.
	Runtime int            `json:"runtime_port,omitempty"`
	Dir     string         `json:"dir"`
	Made    bool           `json:"made"` // its data directory has been initialised
	Proc    servers.Server `json:"proc,omitzero"`
}

// Address is host:port.
func (s Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// state is what lab.json holds.
type state struct {
	Format  int      `json:"format"`
	Shards  int      `json:"shards"`
	Redis   int      `json:"redis"`
	Engine  int      `json:"engine_port"`
	Servers []Server `json:"servers"`
	// Drlab is the program that carries the lines, of a lab that has some.
	Drlab  string       `json:"drlab,omitempty"`
	Lines  []lines.Line `json:"lines,omitempty"`
	Clocks bool         `json:"clocks,omitempty"`
}

// Lab is a lab on disk.
type Lab struct {
	dir   string
	tools servers.Binaries
	mu    sync.Mutex
	st    state
}

const recordName = "lab.json"

// Open opens an existing lab.
func Open(dir string, tools servers.Binaries) (*Lab, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fail.New(fail.Invalid, "lab: open", dir, "", err)
	}

	b, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return nil, fail.New(fail.NotFound, "lab: open", dir, "make one with: drlab up --dir "+dir, err)
	}

	l := &Lab{dir: dir, tools: tools}
	if err := json.Unmarshal(b, &l.st); err != nil {
		return nil, fail.New(fail.Corrupt, "lab: open", dir, "remove the directory and make a new lab", err)
	}

	l.adopt()

	return l, nil
}

// Up makes the lab or starts what is down of it.
func Up(ctx context.Context, o Options) (*Lab, error) {
	l, err := Open(o.Dir, o.Tools)
	if fail.Is(err, fail.NotFound) {
		l, err = create(o)
	}

	if err != nil {
		return nil, err
	}

	if o.Proxies && !l.Proxied() {
		if err := l.addProxies(); err != nil {
			return nil, err
		}
	}

	if o.Clocks && !l.st.Clocks {
		return nil, fail.New(fail.Conflict, "lab: up", l.dir, "make another lab", errors.New("a lab gets clocks when it is made: the servers of this one run by the host's"))
	}

	if err := l.prepareLines(ctx, o); err != nil {
		return nil, err
	}

	say := o.Progress
	if say == nil {
		say = func(string) {}
	}
	// Primaries before standbys, which copy them over lines, and proxies, which lead to them.
	for _, role := range []targets.Role{linesName, targets.Primary, targets.Standby, Proxy} {
		var wg sync.WaitGroup
		errs := make([]error, len(l.st.Servers))

		limit := make(chan struct{}, 2)
		for i := range l.st.Servers {
			if l.st.Servers[i].Role != role || l.st.Servers[i].Proc.Alive() {
				continue
			}

			wg.Go(func() {
				limit <- struct{}{}
				defer func() { <-limit }()

				say("starting " + l.st.Servers[i].Name)
				errs[i] = l.start(ctx, i)
			})
		}

		wg.Wait()

		if err := errors.Join(errs...); err != nil {
			return l, err
		}
	}

	return l, l.buckets(ctx)
}

func create(o Options) (*Lab, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fail.New(fail.Invalid, "lab: make", o.Dir, "", err)
	}

	if o.Shards <= 0 {
		o.Shards = 4
	}

	if o.Redis <= 0 {
		o.Redis = 2
	}

	if es, err := os.ReadDir(dir); err == nil && len(es) > 0 {
		return nil, fail.Newf(fail.Conflict, "lab: make", dir, "the directory is not empty and holds no lab; name another")
	}

	if err := os.MkdirAll(filepath.Join(dir, "secrets"), 0o755); err != nil {
		return nil, fail.FromOS("lab: make", dir, err)
	}

	for _, s := range []string{"postgres", "shop", "redis", "s3"} {
		var b [16]byte

		_, _ = rand.Read(b[:])
		if err := atomicfile.Write(filepath.Join(dir, "secrets", s), []byte(hex.EncodeToString(b[:])+"\n"), 0o600); err != nil {
			return nil, fail.FromOS("lab: make", dir, err)
		}
	}

	l := &Lab{dir: dir, tools: o.Tools, st: state{Format: 1, Shards: o.Shards, Redis: o.Redis, Clocks: o.Clocks}}
	if l.st.Engine, err = servers.FreePort(); err != nil {
		return nil, err
	}

	add := func(region, target string, n int, k targets.Kind, r targets.Role) error {
		port, err := servers.FreePort()
		if err != nil {
			return err
		}
		id := targets.ShardID{Target: target, Shard: fmt.Sprint(n)}
		l.st.Servers = append(l.st.Servers, Server{Name: region + "/" + id.String(), Region: region, Shard: id, Kind: k, Role: r,
			Port: port, Dir: filepath.Join(dir, region, fmt.Sprintf("%s%d", target, n))})

		return nil
	}
	for _, x := range []struct {
		region string
		role   targets.Role
	}{{East, targets.Primary}, {West, targets.Standby}} {
		// The S3 server of each region holds its vault, so both are primaries.
		if err := add(x.region, "media", 0, targets.S3, targets.Primary); err != nil {
			return nil, err
		}

		for n := range o.Shards {
			if err := add(x.region, "orders", n, targets.Postgres, x.role); err != nil {
				return nil, err
			}
		}

		for n := range o.Redis {
			if err := add(x.region, "carts", n, targets.Redis, x.role); err != nil {
				return nil, err
			}
		}
	}

	if o.Lines {
		if err := l.addWitness(o.Program); err != nil {
			return nil, err
		}
	}

	return l, l.save()
}

func (l *Lab) save() error {
	b, err := json.MarshalIndent(l.st, "", "  ")
	if err != nil {
		return fail.New(fail.Internal, "lab: record", l.dir, "", err)
	}
	path := filepath.Join(l.dir, recordName)

	return fail.FromOS("lab: write record", path, atomicfile.Write(path, b, 0o644))
}

// update changes a server's record durably.
func (l *Lab) update(i int, f func(*Server)) error {
	l.mu.Lock()
	defer l.mu.Unlock()

	f(&l.st.Servers[i])

	return l.save()
}

// Dir is the lab's directory.
func (l *Lab) Dir() string { return l.dir }

// Journal is where the shop's traffic writes its journal unless told otherwise.
func (l *Lab) Journal() string { return filepath.Join(l.dir, "journal.jsonl") }

// Servers are the lab's servers.
func (l *Lab) Servers() []Server {
	l.mu.Lock()
	defer l.mu.Unlock()

	return slices.Clone(l.st.Servers)
}

func (l *Lab) secret(name string) (targets.Secret, error) {
	b, err := os.ReadFile(filepath.Join(l.dir, "secrets", name))
	if err != nil {
		return targets.Secret{}, fail.FromOS("lab: read secret", name, err)
	}

	return targets.NewSecret(strings.TrimSpace(string(b))), nil
}

// Instance returns how a server of the lab is reached by its owner.
func (l *Lab) Instance(region string, id targets.ShardID) (targets.Instance, error) {
	for _, s := range l.Servers() {
		if s.Region != region || s.Shard != id {
			continue
		}
		in := targets.Instance{Kind: s.Kind, Shard: id, Region: region, Role: s.Role, Address: s.Address(), DataDir: s.Dir}
		name := map[targets.Kind]string{targets.Postgres: "postgres", targets.Redis: "redis", targets.S3: "s3"}[s.Kind]

		var err error
		if in.Password, err = l.secret(name); err != nil {
			return in, err
		}

		switch s.Kind {
		case targets.Postgres:
			in.User, in.Database = "drctl", "shop"
		case targets.S3:
			in.User, in.Database, in.Address = "lab", "media", "http://"+s.Address()
		}

		return in, nil
	}

	return targets.Instance{}, fail.Newf(fail.NotFound, "lab", region+"/"+id.String(), "the lab has no such server")
}

// Shards lists the shards of a target in order.
func (l *Lab) Shards(target string) []targets.ShardID {
	var out []targets.ShardID
	for _, s := range l.Servers() {
		if s.Region == East && s.Shard.Target == target {
			out = append(out, s.Shard)
		}
	}

	return out
}

// Down stops every server; with destroy it removes the directory as well. Faults of lines are taken away:
// a server that waits for one that is cut off would not end.
func (l *Lab) Down(ctx context.Context, destroy bool) error {
	if l.Lined() {
		if err := lines.Clear(ctx, l.LineDir()); err != nil {
			return err
		}
	}

	var errs []error
	for i, s := range l.Servers() {
		var err error
		if destroy {
			err = s.Proc.Kill()
		} else {
			err = s.Proc.Stop(ctx)
		}

		if err == nil {
			err = l.update(i, func(s *Server) { s.Proc = servers.Server{} })
		}
		errs = append(errs, err)
	}

	if err := errors.Join(errs...); err != nil || !destroy {
		return err
	}
	// The record goes last, so that a removal cut short can be repeated.
	es, err := os.ReadDir(l.dir)
	if err != nil {
		return fail.FromOS("lab: remove", l.dir, err)
	}

	for _, e := range es {
		if e.Name() != recordName {
			if err := os.RemoveAll(filepath.Join(l.dir, e.Name())); err != nil {
				return fail.FromOS("lab: remove", l.dir, err)
			}
		}
	}

	return os.RemoveAll(l.dir)
}
