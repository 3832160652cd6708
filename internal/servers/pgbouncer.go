package servers

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"drctl/targets"
)

// PgBouncerSpec describes a PgBouncer.
type PgBouncerSpec struct {
	Name string
	Dir  string
	Port int // 0: a free one
	// Databases are where they lead, host:port by name. Their lines are in the file
	// DatabasesFile, which is written only if it is not there.
	Databases map[string]string
	// ConnectQuery is run on every connection that is made to a server; "" is none.
	ConnectQuery string
	// Users may log in with these passwords, here and, by the same, at the server.
	Users map[string]targets.Secret
	// Admins are users of the console.
	Admins []string
	// Mode of the pools; "" is transaction.
	Mode     string
	Settings map[string]string
	LogFile  string // "": Dir + ".log"
	Detached bool
}

// DatabasesFile has the lines of the databases.
func (s PgBouncerSpec) DatabasesFile() string { return filepath.Join(s.Dir, "databases.ini") }

// StartPgBouncer starts a PgBouncer and waits until it answers.
func (b Binaries) StartPgBouncer(ctx context.Context, s PgBouncerSpec) (Server, error) {
	program := find("pgbouncer")
	if program == "" {
		return Server{}, missing("pgbouncer", "pgbouncer")
	}

	if err := b.RunAs.Mkdir(s.Dir, 0o700); err != nil {
		return Server{}, err
	}

	var users, databases strings.Builder
	for _, u := range slices.Sorted(maps.Keys(s.Users)) {
		fmt.Fprintf(&users, "\"%s\" \"%s\"\n", u, s.Users[u].Reveal())
	}

	query := ""
	if s.ConnectQuery != "" {
		query = " connect_query='" + strings.ReplaceAll(s.ConnectQuery, "'", "''") + "'"
	}

	for _, name := range slices.Sorted(maps.Keys(s.Databases)) {
		host, port, _ := strings.Cut(s.Databases[name], ":")
		fmt.Fprintf(&databases, "%s = host=%s port=%s%s\n", name, host, port, query)
	}

	if err := b.RunAs.WriteFile(filepath.Join(s.Dir, "users.txt"), users.String()); err != nil {
		return Server{}, err
	}

	if !exists(s.DatabasesFile()) {
		if err := b.RunAs.WriteFile(s.DatabasesFile(), databases.String()); err != nil {
			return Server{}, err
		}
	}

	return b.onPort(s.Port, func(port int) (Server, error) {
		conf := filepath.Join(s.Dir, "pgbouncer.ini")
		addr := fmt.Sprintf("127.0.0.1:%d", port)

		if err := b.RunAs.WriteFile(conf, s.config(port)); err != nil {
			return Server{}, err
		}

		return b.start(ctx, launch{name: named(s.Name, "pgbouncer ", s.Dir), kind: PgBouncer, path: program, args: []string{conf},
			dir: s.Dir, address: addr, logFile: logOf(s.LogFile, s.Dir), detached: s.Detached, ready: func() error { return answers(addr) }})
	})
}

func (s PgBouncerSpec) config(port int) string {
	set := map[string]string{"listen_addr": "127.0.0.1", "listen_port": fmt.Sprint(port), "unix_socket_dir": "",
		"auth_type": "scram-sha-256", "auth_file": filepath.Join(s.Dir, "users.txt"), "admin_users": strings.Join(s.Admins, ","),
		"pool_mode": "transaction", "max_client_conn": "500", "default_pool_size": "50", "ignore_startup_parameters": "extra_float_digits",
		"server_login_retry": "0.1"} // a pause that meets a login must not cost the 15 s of the default
	if s.Mode != "" {
		set["pool_mode"] = s.Mode
	}

	maps.Copy(set, s.Settings)

	var b strings.Builder
	fmt.Fprintf(&b, "[databases]\n%%include %s\n\n[pgbouncer]\n", s.DatabasesFile())

	for _, k := range slices.Sorted(maps.Keys(set)) {
		fmt.Fprintf(&b, "%s = %s\n", k, set[k])
	}

	return b.String()
}
