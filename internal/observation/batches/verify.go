package batches

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

// CheckObservations is the name of the check in findings.
const CheckObservations = "vault: observations"

// Verify reads every batch of a group in one vault and returns a Failed finding for
// each that is damaged or not what its name says, or else a Passed one. An
// error means that verifying was not possible. The progress counts bytes as stored.
func Verify(ctx context.Context, v *vault.Vault, group string, p targets.Progress) ([]targets.Finding, error) {
	start := time.Now()
	prefix := vault.ObservationsPrefix(group)
	subject := v.Region() + ": " + prefix
	bad := make(chan targets.Finding)
	var count, bytes atomic.Int64

	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)

	var findings []targets.Finding
	collected := make(chan struct{})

	go func() {
		defer close(collected)

		for f := range bad {
			findings = append(findings, f)
		}
	}()

	var listErr error
	for i, err := range v.Store().List(ctx, prefix, "") {
		if listErr = err; err != nil || gctx.Err() != nil {
			break
		}

		g.Go(func() error {
			name, ok := vault.ParseObservationKey(i.Key)
			if !ok {
				bad <- targets.Finding{Check: CheckObservations, Subject: v.Region() + ": " + i.Key, Severity: targets.Failed,
					Detail: "no observer writes such a name: it is not read"}

				return nil
			}

			_, err := Get(gctx, v, name)

			count.Add(1)
			p.Report("verify", bytes.Add(i.Size), 0)

			switch {
			case err == nil || fail.Is(err, fail.NotFound): // removed by retention since the listing
				return nil
			case isDamage(err):
				bad <- targets.Finding{Check: CheckObservations, Subject: v.Region() + ": " + i.Key, Severity: targets.Failed, Detail: err.Error()}
				return nil
			}

			return err
		})
	}

	err := g.Wait()

	close(bad)
	<-collected

	if err == nil {
		err = listErr
	}

	if err == nil && len(findings) == 0 && count.Load() > 0 {
		findings = append(findings, targets.Finding{Check: CheckObservations, Subject: subject, Severity: targets.Passed,
			Detail: fmt.Sprintf("%d batches read", count.Load()), Took: time.Since(start)})
	}

	return findings, err
}
