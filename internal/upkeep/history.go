package upkeep

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

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

// SaveCheck keeps the outcome of a check where status finds it.
func SaveCheck(ctx context.Context, r platform.Resolver, g platform.Group, out Check) error {
	if len(out.Findings) > maxSaved {
		out.Findings = Worst(out.Findings, maxSaved)
	}

	return platform.SaveReport(ctx, r, g, CheckReports, targets.IDTime(out.Started)+checkSuffix(g.Name, out.Region), out)
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

// maxReports bounds how far back reports are read: restic knows at most 256
// parts, and a vault whose every part has been read without a finding since
// needs no older reports.
const maxReports = 300

// CheckHistory reads the reports of a region's checks from every vault that may
// hold some.
func CheckHistory(ctx context.Context, vaults []*vault.Vault, group, region string) (History, error) {
	var out History
	var sound coverage
	err := eachReport(ctx, vaults, group, region, func(c Check) bool {
		if out.Newest.Started.IsZero() {
			out.Newest = c
		}

		switch {
		case c.Failed == 0:
			sound.add(c.ReadData)
		case !sound.covers(c.ReadData):
			out.Damaged = c
		}

		return out.Damaged.Started.IsZero() && !sound.all
	})

	return out, err
}

// eachReport gives the reports of a region's checks, the newest first. A damaged
// one does not hide the others; it is named in the error.
func eachReport(ctx context.Context, vaults []*vault.Vault, group, region string, f func(Check) (more bool)) error {
	in := map[string]*vault.Vault{}
	for _, v := range vaults {
		ids, err := v.Reports(ctx, CheckReports)
		if err != nil {
			return err
		}

		for _, id := range ids {
			if strings.HasSuffix(id, checkSuffix(group, region)) {
				in[id] = v
			}
		}
	}
	ids := slices.Sorted(maps.Keys(in)) // they begin with the time

	var bad []error
	for _, id := range slices.Backward(ids[max(0, len(ids)-maxReports):]) {
		var out Check
		if err := in[id].Report(ctx, CheckReports, id, &out); fail.Is(err, fail.Corrupt) {
			bad = append(bad, err)
			continue
		} else if err != nil {
			return err
		}

		if out.Group == group && out.Region == region && !f(out) {
			break
		}
	}

	return errors.Join(bad...)
}

// coverage is what of the base data a number of checks have read. All checks
// read everything else.
type coverage struct {
	any, all bool
	parts    map[int]map[int]bool // by the number of parts
}

func (c *coverage) add(readData string) {
	c.any = true

	n, t, ok := part(readData)
	if !ok {
		return
	}

	if c.parts == nil {
		c.parts = map[int]map[int]bool{}
	}

	if c.parts[t] == nil {
		c.parts[t] = map[int]bool{}
	}
	c.parts[t][n] = true
	c.all = c.all || len(c.parts[t]) == t
}

func (c *coverage) covers(readData string) bool {
	if n, t, ok := part(readData); ok {
		return c.all || c.parts[t][n]
	}

	return c.all || c.any && readData == ""
}

// part reads restic's "n/t", of which "100%" is another way to write "1/1".
func part(readData string) (n, t int, ok bool) {
	if readData == "100%" {
		return 1, 1, true
	}

	if _, err := fmt.Sscanf(readData, "%d/%d", &n, &t); err != nil || n < 1 || t < n {
		return 0, 0, false
	}

	return n, t, true
}

// NextPart is the part that a scheduled check reads, which is configured as one
// of t: the one after that which was read last, so that t checks read all.
func NextPart(ctx context.Context, v *vault.Vault, group, region, configured string) (string, error) {
	_, t, ok := part(configured)
	if !ok || t == 1 {
		return configured, nil
	}
	next := configured

	err := eachReport(ctx, []*vault.Vault{v}, group, region, func(c Check) bool {
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
