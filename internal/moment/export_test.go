package moment

import (
	"testing"
	"time"
)

// Forget makes finders read hardly more than they must.
func Forget(t *testing.T) {
	t.Helper()
	was := lead
	lead = time.Second

	t.Cleanup(func() { lead = was })
}
