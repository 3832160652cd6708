package upkeep

import (
	"context"
	"fmt"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/targets"
)

// CheckReports is the kind of the reports of checks in a vault: each is a Check.
const CheckReports = "check"

// maxSaved is how many findings a report keeps, the worst ones: a vault that is
// damaged all over has one for each of its objects, and a report is read whole.
const maxSaved = 10_000

// SaveCheck keeps the outcome of a check where status finds it, with what the checks
// before it have shown.
func SaveCheck(ctx context.Context, r platform.Resolver, g platform.Group, out Check) error {
	if len(out.Findings) > maxSaved {
		out.Findings = Worst(out.Findings, maxSaved)
	}
	saved := savedCheck{Check: out}

	var vaults []*vault.Vault
	for _, region := range g.Policy.Vaults {
		if v, err := r.Vault(ctx, region); err == nil {
			vaults = append(vaults, v)
		}
	}
	// Without it the next one who asks reads the reports themselves.
	if before, _, err := follow(ctx, vaults, g.Name, out.Region); err == nil {
		saved.Before = &before
	}

	return platform.SaveReport(ctx, r, g, CheckReports, targets.IDTime(out.Started)+checkSuffix(g.Name, out.Region), saved)
}

func checkSuffix(group, region string) string { return "-" + group + "-" + region }

// History is what is known of one vault from the reports of its checks.
type History struct {
	Newest Check // not started when there is none
	// Damaged is the newest check that found damage which no later one has shown
	// to be gone: one that read at least as much and found nothing. Not started
	// when there is none.
	Damaged Check
}

// CheckHistory says what the checks of a region's vault have shown, by their reports
// in every vault that may hold some. It reads the newest, which tells of those before
// it, and those that are not told of.
func CheckHistory(ctx context.Context, vaults []*vault.Vault, group, region string) (History, error) {
	before, newest, err := follow(ctx, vaults, group, region)
	out := History{Newest: newest}

	if n := len(before.Open); n > 0 {
		out.Damaged = before.Open[n-1].Found
	}

	return out, err
}

// NextPart is the part that a scheduled check reads, which is configured as one
// of t: the one after that which was read last, so that t checks read all.
func NextPart(ctx context.Context, v *vault.Vault, group, region, configured string) (string, error) {
	_, t, ok := part(configured)
	if !ok || t == 1 {
		return configured, nil
	}
	next := configured

	err := eachReport(ctx, []*vault.Vault{v}, group, region, func(_ string, c savedCheck) bool {
		n, of, ok := part(c.ReadData)
		if !ok || of != t {
			return true
		}
		next = fmt.Sprintf("%d/%d", n%t+1, t)

		return false
	})
	if fail.Is(err, fail.Corrupt) { // a damaged report must not stop the checks, which name it
		return next, nil
	}

	return next, err
}

// failures counts the findings that say that something is wrong.
func failures(fs []targets.Finding) (n int) {
	for _, f := range fs {
		if f.Severity == targets.Failed {
			n++
		}
	}

	return n
}
