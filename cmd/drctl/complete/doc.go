// Package complete completes names at the shell: of groups, regions, shards,
// targets, drills, schedules and sandboxes from the configuration and this host,
// and of cuts, bases and reports from a vault.
//
// It promises that a vault is asked only for what the configuration does not know,
// for two seconds at most, and that whatever fails completes to nothing: never is
// an error or a warning printed into somebody's command line. It changes nothing.
package complete
