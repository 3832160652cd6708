package servers

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// PostgresSession returns the start-up parameters of drctl's own sessions on a
// restored server of a major version (0: not known). They outrank what the
// database has stored for its databases and roles: no limit ends a check, no
// preference hides damage or forbids a statement, and nothing of the platform's
// runs by itself, such as a trigger that writes an audit log elsewhere or a
// library that is loaded into each session. Before PostgreSQL 17 there are event
// triggers that no such parameter stops: who creates or alters anything disables
// them first.
func PostgresSession(major int) map[string]string {
	set := map[string]string{
		"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0",
		"role": "none", "client_encoding": "UTF8",
		"default_transaction_read_only": "off", "default_transaction_deferrable": "off", "default_transaction_isolation": "read committed",
		"session_preload_libraries": "", "local_preload_libraries": "",
		"ignore_checksum_failure": "off", "zero_damaged_pages": "off",
		// Triggers and event triggers of the usual kind do not fire; those that are
		// enabled ALWAYS or for a REPLICA do.
		"session_replication_role": "replica",
	}
	if major >= 14 {
		set["idle_session_timeout"] = "0"
	}
	if major >= 17 {
		set["transaction_timeout"] = "0"
		set["event_triggers"] = "off" // those on login, too
	}
	return set
}

// RefuseForeignTables makes the server refuse every query of the session that
// would read a foreign table, also through a view or a function: it would read
// the server that the source reads, and say nothing of what was restored. A
// server from before August 2024 (before 13.16, 14.13, 15.8, 16.4) has no such
// setting, and dblink is not a table.
const RefuseForeignTables = `SELECT pg_catalog.set_config(name, 'foreign-table', false) FROM pg_catalog.pg_settings WHERE name = 'restrict_nonsystem_relation_kind'`

// PostgresOptions writes PostgresSession as PGOPTIONS of a program.
func PostgresOptions(major int) string {
	set := PostgresSession(major)
	var opts []string
	for _, k := range slices.Sorted(maps.Keys(set)) {
		opts = append(opts, "-c "+k+"="+strings.NewReplacer(`\`, `\\`, " ", `\ `).Replace(set[k]))
	}
	return strings.Join(opts, " ")
}

// PostgresMajor reads the major version of a data directory; 0 when there is
// none that can be read.
func PostgresMajor(dir string) int {
	if dir == "" {
		return 0
	}
	b, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}
