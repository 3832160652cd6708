package servers

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// RedisSpec describes a Redis server.
type RedisSpec struct {
	Name      string
	Dir       string // working directory: RDB, AOF, configuration
	Port      int    // 0: a free one
	Password  targets.Secret
	ReplicaOf string // host:port of the master, with the same password
	Settings  map[string]string
	Env       []string      // more of the environment
	LogFile   string        // "": Dir + ".log"
	Wait      time.Duration // for loading; 0: a minute
	Detached  bool
}

// StartRedis starts a server and waits until it has loaded its data.
func (b Binaries) StartRedis(ctx context.Context, s RedisSpec) (Server, error) {
	if b.RedisServer == "" {
		return Server{}, missing("redis-server", "redis-server")
	}

	if err := b.RunAs.Mkdir(s.Dir, 0o700); err != nil {
		return Server{}, err
	}

	return b.onPort(s.Port, func(port int) (Server, error) {
		conf := filepath.Join(s.Dir, "redis.conf") // a file, so that no password is in the process list
		if err := b.RunAs.WriteFile(conf, redisConf(s, port)); err != nil {
			return Server{}, err
		}
		addr := fmt.Sprintf("127.0.0.1:%d", port)

		return b.start(ctx, launch{name: named(s.Name, "redis ", s.Dir), kind: targets.Redis, path: b.RedisServer, args: []string{conf}, env: s.Env, dir: s.Dir,
			address: addr, logFile: logOf(s.LogFile, s.Dir), detached: s.Detached, timeout: s.Wait,
			ready: func() error { return redisReady(addr, s.Password) }})
	})
}

func redisConf(s RedisSpec, port int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "bind 127.0.0.1\nport %d\ndir %s\ndaemonize no\nprotected-mode yes\n", port, strconv.Quote(s.Dir))

	if !s.Password.IsZero() {
		fmt.Fprintf(&b, "requirepass %s\nmasterauth %s\n", strconv.Quote(s.Password.Reveal()), strconv.Quote(s.Password.Reveal()))
	}

	if s.ReplicaOf != "" {
		host, p, _ := strings.Cut(s.ReplicaOf, ":")
		fmt.Fprintf(&b, "replicaof %s %s\n", host, p)
	}

	for _, k := range slices.Sorted(maps.Keys(s.Settings)) {
		v := s.Settings[k]
		if v == "" {
			v = `""`
		}

		fmt.Fprintf(&b, "%s %s\n", k, v)
	}

	return b.String()
}

// redisReady asks PING; a server that is loading answers with an error.
func redisReady(addr string, password targets.Secret) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return errNotYet
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))

	r := bufio.NewReader(c)
	if !password.IsZero() {
		pw := password.Reveal()
		fmt.Fprintf(c, "*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n", len(pw), pw)

		line, err := r.ReadString('\n')
		if err != nil {
			return errNotYet
		}

		if !strings.HasPrefix(line, "+OK") {
			return fail.Newf(fail.Denied, "start server", "redis "+addr, "AUTH was answered %q", strings.TrimSpace(line))
		}
	}

	fmt.Fprint(c, "PING\r\n")

	line, err := r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "+PONG") {
		return errNotYet
	}

	return nil
}
