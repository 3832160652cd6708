package stores

import (
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Offset reads a master's replication offset out of INFO replication; 0 if it
// counts nothing yet, or did not say.
func Offset(info *redis.StringCmd) uint64 {
	for line := range strings.Lines(info.Val()) {
		if text, ok := strings.CutPrefix(line, "master_repl_offset:"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
			return n
		}
	}

	return 0
}
