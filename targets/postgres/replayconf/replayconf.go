package replayconf

import (
	"fmt"
	"strconv"
	"strings"
)

// Settings must be met or exceeded by a server that replays the log.
var Settings = []string{"max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction"}

// Notes are recorded beside them.
var Notes = []string{"server_version_num", "server_version", "wal_segment_size", "data_checksums", "server_encoding", "lc_collate", "lc_ctype", "block_size"}

// Quote writes a value of a configuration file.
func Quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `''`).Replace(s) + "'"
}

// Fetch is the command that fetches a file from laid-out log. The shell sees the
// directory quoted, the server sees its percent signs doubled.
func Fetch(dir string) string {
	dir = strings.ReplaceAll(strings.ReplaceAll(dir, "'", `'\''`), "%", "%%")
	return `cp '` + dir + `/'%f "%p"`
}

// Quiet are settings that keep a restored server from doing anything by itself: after its
// promotion it would go on as what it was, with the stored logins, and take
// from a publisher what the live subscriber needs.
func Quiet(major int) map[string]string {
	set := map[string]string{
		"max_logical_replication_workers":   "0",
		"max_sync_workers_per_subscription": "0",
		// No library starts workers of its own (pg_cron, timescaledb), or is loaded
		// into a session.
		"shared_preload_libraries":  "",
		"session_preload_libraries": "",
		"local_preload_libraries":   "",
	}
	if major >= 17 {
		set["event_triggers"] = "off"
	} else {
		// The only way before: triggers of the usual kind do not fire for anybody.
		// Those that are enabled ALWAYS or for a REPLICA do, so nothing that would
		// fire them is run before they are disabled: see stillTriggers.
		set["session_replication_role"] = "replica"
	}

	return set
}

// Values are the settings that a replay depends on. They are those of the
// base, with a floor under what a replay runs out of when the source raised it
// later. Two must fit the size of a segment. A floor that is too high costs
// memory.
func Values(base map[string]string, segment uint64) map[string]string {
	set := map[string]string{}
	for _, k := range Settings {
		if base[k] != "" {
			set[k] = base[k]
		}
	}
	floor := func(name string, least int) {
		have, _ := strconv.Atoi(base[name])
		set[name] = strconv.Itoa(max(have, least))
	}
	// Each one reserves memory for max_locks_per_transaction locks.
	locks, _ := strconv.Atoi(base["max_locks_per_transaction"])
	floor("max_prepared_transactions", min(1000, max(50, 256_000/max(locks, 1))))
	// The log tells how far each subscription came, in as many places as these.
	floor("max_replication_slots", 1000)

	if version, _ := strconv.Atoi(base["server_version_num"]); version >= 180000 {
		floor("max_active_replication_origins", 1000)
	}
	set["min_wal_size"] = fmt.Sprintf("%dMB", max(80, 5*segment>>20))
	set["max_wal_size"] = fmt.Sprintf("%dMB", max(8<<10, 10*segment>>20))

	return set
}
