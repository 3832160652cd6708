package targets

import (
	"fmt"
	"time"
)

// String writes a position in the store's own words: "16/B374D848 on timeline 1
// of system 7440", "offset 51 of 8f1c...", "as of 2026-11-23T19:25:31Z"; "" for
// none. Evidence quotes it, so that it stays as it is.
func (p Position) String() string {
	switch p.Kind {
	case Postgres:
		if sys, tl, err := ParsePostgresTimeline(p.Timeline); err == nil {
			return fmt.Sprintf("%s on timeline %d of system %s", FormatLSN(p.Offset), tl, sys)
		}

		return FormatLSN(p.Offset)
	case Redis:
		return fmt.Sprintf("offset %d of %s", p.Offset, p.Timeline)
	case S3:
		return "as of " + p.AsOf.UTC().Format(time.RFC3339Nano)
	}

	return ""
}
