package batches

import (
	"context"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
)

// fresh is how old the newest batch of an observer may be that still observes.
const fresh = 20 * time.Second

// Queue names the task queue of the process that observes the group, as the first vault
// tells that has a fresh batch; "" when none has. An error means that no
// vault could be read.
func Queue(ctx context.Context, set vault.Set, group string) (string, error) {
	var last error

	read := false
	for _, v := range set.Vaults {
		vctx, cancel := context.WithTimeout(ctx, vault.Straggle)
		b, err := Newest(vctx, v, group)

		cancel()

		switch {
		case fail.Is(err, fail.NotFound):
			read = true
		case err != nil:
			last = err
		case time.Since(b.Ended) < fresh && b.Queue != "":
			return b.Queue, nil
		default:
			read = true
		}
	}

	if read {
		last = nil
	}

	return "", last
}
