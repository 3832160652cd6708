package targets

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// LockedTables says which writers of a shard a cut at a barrier stopped, and which not.
type LockedTables struct {
	Database string `json:"database"`
	// Tables is how many were locked, partitions counting as their table, and SHA256 that of their
	// names, sorted, one a line: two cuts that locked the same tables have the same.
	Tables int    `json:"tables"`
	SHA256 string `json:"sha256"`
	// Others is how many other tables of the database could be written meanwhile.
	Others int `json:"others,omitempty"`
	// Databases are the other databases of the server, which a recovery brings back as well: nobody
	// stopped their writers. At most MaxDatabases.
	Databases []string `json:"other_databases,omitempty"`
	// RoundTrip is how long the server takes for an answer: the writers of all shards wait
	// for some of the longest.
	RoundTrip time.Duration `json:"round_trip_ns"`
}

// MaxDatabases is how many databases are named.
const MaxDatabases = 5

// Locker is a Member that can say what it locked. It is asked after Settle.
type Locker interface{ Locked() LockedTables }

// HashNames is the SHA-256 of names, in whatever order.
func HashNames(names []string) string {
	sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(names)), "\n")))
	return hex.EncodeToString(sum[:])
}

func (l *LockedTables) check() error {
	switch {
	case l == nil:
		return nil
	case l.Tables < 0 || l.Others < 0 || l.RoundTrip < 0 || !IsSHA256(l.SHA256):
		return fmt.Errorf("it says that %d tables were locked, and %d not", l.Tables, l.Others)
	case len(l.Databases) > MaxDatabases:
		return fmt.Errorf("%d other databases are named", len(l.Databases))
	}

	for _, name := range append(slices.Clone(l.Databases), l.Database) {
		if err := CheckText("database", name); err != nil {
			return err
		}
	}

	return nil
}
