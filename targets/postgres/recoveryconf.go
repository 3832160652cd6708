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
	"drctl/targets/postgres/replayconf"
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

// recoveryConf is the whole configuration of the recovering server. Without a
// target the whole log is replayed.
func (r *restoreRun) recoveryConf() string {
	set := r.req.Base.Settings
	var b strings.Builder
	put := func(k, v string) { fmt.Fprintf(&b, "%s = %s\n", k, replayconf.Quote(v)) }

	b.WriteString("# Written by drctl for a restore.\n")
	put("listen_addresses", "127.0.0.1")
	put("port", strconv.Itoa(r.port))
	put("unix_socket_directories", r.socketDir())
	putAll := func(set map[string]string) {
		for _, k := range slices.Sorted(maps.Keys(set)) {
			put(k, set[k])
		}
	}
	putAll(replayconf.Values(set, r.segSize))
	put("wal_level", "replica")
	// Nobody looks in before the point is reached, and a setting that the
	// source raised on the way cannot stop the replay: the server compares them
	// for a hot standby only, and has floors for those that it runs out of.
	put("hot_standby", "off")
	putAll(replayconf.Quiet(r.major))
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

	put("restore_command", replayconf.Fetch(r.walDir()))
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

func (r *restoreRun) targetTimeline() uint32 {
	_, tli, _ := targets.ParsePostgresTimeline(r.req.Path[len(r.req.Path)-1].Timeline) // checked by checkPath
	return tli
}
