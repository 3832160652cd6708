package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"drctl/targets"
	"drctl/targets/postgres/ownconf"
	"drctl/targets/postgres/startnote"
)

// restoreConfig makes the directory ready to start as what it was, where it will be
// reached. Findings say what was changed, or is missing.
func (r *restoreRun) restoreConfig(ctx context.Context) error {
	made, err := ownconf.PutBack(r.tools, r.dir)
	if err != nil {
		return err
	}

	warn := func(check, note string) {
		if note != "" {
			r.out.Findings = append(r.out.Findings, targets.Finding{Check: check, Subject: r.in.String(), Severity: targets.Warned, Detail: note})
		}
	}
	warn("before the server is started", startnote.For(r.tools, r.dir, r.in.Address, r.req.Base.Settings[settingConfig], made))

	if slices.Contains(made, "postgresql.conf") {
		return nil // its configuration is another one, which nobody here knows
	}
	note, err := ownconf.Listen(ctx, r.tools, r.dir, r.in.Address)
	warn("where the server listens", note)

	return err
}

// confQuote writes a value of a configuration file.
func confQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", "''").Replace(s) + "'"
}

// restoreCommand fetches a file from the laid-out log. The shell sees the
// directory quoted, the server sees its percent signs doubled.
func (r *restoreRun) restoreCommand() string {
	dir := strings.ReplaceAll(strings.ReplaceAll(r.walDir(), "'", `'\''`), "%", "%%")
	return `cp '` + dir + `/'%f "%p"`
}

// recoveryConf is the whole configuration of the recovering server. Without a
// target the whole log is replayed.
func (r *restoreRun) recoveryConf() string {
	set := r.req.Base.Settings
	var b strings.Builder
	put := func(k, v string) { fmt.Fprintf(&b, "%s = %s\n", k, confQuote(v)) }

	b.WriteString("# Written by drctl for a restore.\n")
	put("listen_addresses", "127.0.0.1")
	put("port", strconv.Itoa(r.port))
	put("unix_socket_directories", r.socketDir())
	putAll := func(set map[string]string) {
		for _, k := range slices.Sorted(maps.Keys(set)) {
			put(k, set[k])
		}
	}
	putAll(replayValues(set, r.segSize))
	put("wal_level", "replica")
	// Nobody looks in before the point is reached, and a setting that the
	// source raised on the way cannot stop the replay: the server compares them
	// for a hot standby only, and has floors for those that it runs out of.
	put("hot_standby", "off")
	putAll(quietSettings(r.major))
	put("archive_mode", "off")
	put("synchronous_standby_names", "")
	put("ssl", "off")
	put("logging_collector", "off")
	put("log_destination", "stderr")
	put("log_line_prefix", "%m [%p] ")
	put("lc_messages", "C")
	put("log_min_messages", "warning") // LOG ranks above it
	put("restart_after_crash", "off")
	put("checkpoint_timeout", "30min")
	put("shared_buffers", "128MB")

	if r.in.Role == targets.Sandbox {
		put("fsync", "off")
		put("full_page_writes", "off")
		put("synchronous_commit", "off")
		put("autovacuum", "off") // a sandbox shows what was restored
	}

	put("restore_command", r.restoreCommand())
	put("recovery_target_action", "promote")
	put("recovery_target_timeline", strconv.FormatUint(uint64(r.targetTimeline()), 10))

	switch {
	case !r.req.Until.IsZero() && !r.atCut:
		put("recovery_target_time", r.req.Until.UTC().Format("2006-01-02 15:04:05.000000+00"))
	case r.req.Point.RestorePoint != "":
		put("recovery_target_name", r.req.Point.RestorePoint)
	}

	return b.String()
}

// quietSettings keep a restored server from doing anything by itself: after its
// promotion it would go on as what it was, with the stored logins, and take
// from a publisher what the live subscriber needs.
func quietSettings(major int) map[string]string {
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

// replayValues are the settings that a replay depends on. They are those of the
// base, with a floor under what a replay runs out of when the source raised it
// later. Two must fit the size of a segment. A floor that is too high costs
// memory.
func replayValues(base map[string]string, segment uint64) map[string]string {
	set := map[string]string{}
	for _, k := range replaySettings {
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

func (r *restoreRun) targetTimeline() uint32 {
	_, tli, _ := targets.ParsePostgresTimeline(r.req.Path[len(r.req.Path)-1].Timeline) // checked by checkPath
	return tli
}
