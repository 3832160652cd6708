package problem

import "slices"

// codes are those of all problems.
var codes = []string{
	"archiver-failing", "base-failing", "base-missing", "base-outgrown", "checks-unread", "configuration", "cut-failing", "cut-grade", "cut-incomplete",
	"cut-unrecoverable", "damage", "drill-overdue", "engine-silent", "engine-unreachable", "gate-use", "glass-broken", "global-broken", "grants-missing",
	"grants-unknown", "instance-unreachable", "instance-warning", "job-failing", "key-missing", "log-interrupted", "no-cut", "observations-not-kept",
	"observer-failing", "plan-too-slow", "plan-unverified", "programs-unfit", "region-unserved", "retention-breaks-off", "role-unserved", "rpo-missed",
	"run-failing", "schedule-stuck", "shard-not-observed", "standby-behind", "standby-stopped", "two-primaries", "vault-behind", "vault-unavailable",
}

// Codes lists the codes of all problems that there are, sorted.
func Codes() []string { return slices.Clone(codes) }

// Known reports whether there is a problem of that code. A question for another would never be answered with yes.
func Known(code string) bool { return slices.Contains(codes, code) }
