package upkeep

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

// savedCheck is a report of a check as it is stored.
type savedCheck struct {
	Check
	// Before is what the checks before this one have shown; nil in reports of an
	// older drctl, and where that could not be read.
	Before *trail `json:"before,omitempty"`
}

// trail is what a number of checks have shown. It is stored with each, so that who
// asks later reads what is new and not what is kept.
type trail struct {
	// Seen are the ids of the newest reports that are in it, in order. All older ones
	// are too, or do not matter.
	Seen []string `json:"seen,omitempty"`
	// Open is the damage that no check since has shown to be gone, the newest last.
	Open []damage `json:"open,omitempty"`
}

// damage is what one check found.
type damage struct {
	Found Check    `json:"found"` // with the first of its findings alone
	Sound coverage `json:"sound"` // what checks since have read without a finding
}

const (
	// maxSeen is how many reports a trail names. A check that took longer than as many
	// others is stored after them, and not seen.
	maxSeen = 50
	// maxReports bounds how far back reports without a trail are read: restic knows at
	// most 256 parts, and a vault whose every part has been read without a finding
	// since needs no older reports.
	maxReports = 300
)

// add takes up the outcome of one more check.
func (t *trail) add(id string, c Check) {
	switch {
	case c.Failed == 0:
		for i := range t.Open {
			t.Open[i].Sound.add(c.ReadData)
		}
		t.Open = slices.DeleteFunc(t.Open, func(d damage) bool { return d.Sound.covers(d.Found.ReadData) })
	default:
		// What shows that this is gone shows it of the same data before, too.
		t.Open = slices.DeleteFunc(t.Open, func(d damage) bool { return d.Found.ReadData == c.ReadData })
		c.Findings = Worst(c.Findings, 1)
		t.Open = append(t.Open, damage{Found: c})
	}

	t.Seen = append(t.Seen, id)
	slices.Sort(t.Seen)
	t.Seen = t.Seen[max(0, len(t.Seen)-maxSeen):]
}

// follow is the trail of the checks of a region's vault, and the newest of them: that
// of the newest report whose trail has all that are older, and every one since.
func follow(ctx context.Context, vaults []*vault.Vault, group, region string) (trail, Check, error) {
	type read struct {
		id    string
		check Check
	}
	var out trail
	var since []read // the newest first
	var sound coverage
	var broken error

	err := eachReport(ctx, vaults, group, region, func(id string, c savedCheck) bool {
		since = append(since, read{id, c.Check})
		if c.Failed == 0 {
			sound.add(c.ReadData)
		}

		if c.Before == nil || sound.All { // then what is older does not matter
			return !sound.All
		}

		var whole bool
		if whole, broken = c.Before.whole(ctx, vaults, checkSuffix(group, region), id); whole {
			out = *c.Before
		}

		return !whole && broken == nil
	})

	for _, r := range slices.Backward(since) {
		out.add(r.id, r.check)
	}

	var newest Check
	if len(since) > 0 {
		newest = since[0].check
	}

	return out, newest, errors.Join(err, broken)
}

// whole reports whether every report older than the one with the trail is in it: one of
// a check that ran for long may have come later.
func (t trail) whole(ctx context.Context, vaults []*vault.Vault, suffix, id string) (bool, error) {
	after := ""
	if len(t.Seen) > 0 {
		after = t.Seen[0]
	}

	in, err := reportsAfter(ctx, vaults, suffix, after)
	for other := range in {
		if other < id && !slices.Contains(t.Seen, other) {
			return false, err
		}
	}

	return err == nil, err
}

// reportsAfter are the vaults that hold the reports with the suffix whose ids are
// greater than after.
func reportsAfter(ctx context.Context, vaults []*vault.Vault, suffix, after string) (map[string]*vault.Vault, error) {
	in := map[string]*vault.Vault{}
	for _, v := range vaults {
		ids, err := v.ReportsAfter(ctx, CheckReports, after)
		if err != nil {
			return nil, err
		}

		for _, id := range ids {
			if strings.HasSuffix(id, suffix) {
				in[id] = v
			}
		}
	}

	return in, nil
}

// eachReport gives the reports of a region's checks, the newest first. A damaged
// one does not hide the others; it is named in the error.
func eachReport(ctx context.Context, vaults []*vault.Vault, group, region string, f func(id string, c savedCheck) (more bool)) error {
	var bad []error
	end, left := "", maxReports

	// Ids begin with the time: the last days are listed, then ever longer spans.
	for _, span := range []time.Duration{2 * 24 * time.Hour, 32 * 24 * time.Hour, 0} {
		after := ""
		if span > 0 {
			after = targets.IDTime(time.Now().Add(-span))
		}

		in, err := reportsAfter(ctx, vaults, checkSuffix(group, region), after)
		if err != nil {
			return err
		}

		for _, id := range slices.Backward(slices.Sorted(maps.Keys(in))) {
			if end != "" && id >= end || left == 0 {
				continue
			}
			end, left = id, left-1
			var c savedCheck

			if err := in[id].Report(ctx, CheckReports, id, &c); fail.Is(err, fail.Corrupt) {
				bad = append(bad, err)
				continue
			} else if err != nil {
				return err
			}

			if c.Group == group && c.Region == region && !f(id, c) {
				return errors.Join(bad...)
			}
		}
	}

	return errors.Join(bad...)
}

// coverage is what of the base data a number of checks have read. All checks
// read everything else.
type coverage struct {
	Any   bool                 `json:"any,omitempty"`
	All   bool                 `json:"all,omitempty"`
	Parts map[int]map[int]bool `json:"parts,omitempty"` // by the number of parts
}

func (c *coverage) add(readData string) {
	c.Any = true

	n, t, ok := part(readData)
	if !ok {
		return
	}

	if c.Parts == nil {
		c.Parts = map[int]map[int]bool{}
	}

	if c.Parts[t] == nil {
		c.Parts[t] = map[int]bool{}
	}
	c.Parts[t][n] = true
	c.All = c.All || len(c.Parts[t]) == t
}

func (c *coverage) covers(readData string) bool {
	if n, t, ok := part(readData); ok {
		return c.All || c.Parts[t][n]
	}

	return c.All || c.Any && readData == ""
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
