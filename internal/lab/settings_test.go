package lab

import "testing"

// Only where primaries move do standbys look often for theirs: each look is a process, and
// in a lab that has lost a region all of them look.
func TestStandbysLookOftenOnlyWherePrimariesMove(t *testing.T) {
	t.Parallel()

	if s := (&Lab{}).postgresSettings()["wal_retrieve_retry_interval"]; s != "" {
		t.Errorf("a lab without proxies sets it to %s", s)
	}
}
