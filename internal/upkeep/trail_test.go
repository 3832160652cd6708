package upkeep

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/targets"
)

// oneVault is a platform that has a vault and nothing else.
type oneVault struct {
	platform.Resolver
	v *vault.Vault
}

func (o oneVault) Vault(context.Context, string) (*vault.Vault, error) { return o.v, nil }

// checks keeps checks of one region's vault, and asks what they have shown.
type checks struct {
	t   *testing.T
	v   *vault.Vault
	dir string
	g   platform.Group
}

func newChecks(t *testing.T) checks {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "vault")

	v, err := vault.Init(t.Context(), vault.Options{Region: "east", Location: vault.Location{URL: "file://" + dir}, Key: key})
	if err != nil {
		t.Fatal(err)
	}

	return checks{t, v, dir, platform.Group{Name: "shop", Policy: platform.Policy{Vaults: []string{"east"}}}}
}

func (c checks) made(minutesAgo int, readData string, failed int) Check {
	out := Check{Group: "shop", Region: "east", ReadData: readData, Failed: failed, Checks: 9,
		Started: time.Now().Add(-time.Duration(minutesAgo) * time.Minute).UTC().Truncate(time.Millisecond)}
	for i := range failed {
		out.Findings = append(out.Findings, targets.Finding{Check: "stream", Subject: fmt.Sprintf("orders/%d", i), Severity: targets.Failed})
	}

	return out
}

func (c checks) save(x Check) {
	c.t.Helper()

	if err := SaveCheck(c.t.Context(), oneVault{v: c.v}, c.g, x); err != nil {
		c.t.Fatal(err)
	}
}

func (c checks) history() History {
	c.t.Helper()

	h, err := CheckHistory(c.t.Context(), []*vault.Vault{c.v}, "shop", "east")
	if err != nil {
		c.t.Fatal(err)
	}

	return h
}

// remove removes the reports but the newest ones.
func (c checks) remove(but int) {
	c.t.Helper()

	files, err := filepath.Glob(filepath.Join(c.dir, "reports", CheckReports, "*"))
	if err != nil || len(files) < but {
		c.t.Fatal(files, err)
	}

	for _, f := range files[:len(files)-but] {
		if err := os.Remove(f); err != nil {
			c.t.Fatal(err)
		}
	}
}

// What the checks have shown is read from the newest report alone, however many are
// kept: the older ones are not looked at.
func TestTheNewestReportTellsOfAllChecks(t *testing.T) {
	t.Parallel()
	c := newChecks(t)

	bad := c.made(5000, "2/3", 2)
	c.save(bad)

	for i := range 60 {
		c.save(c.made(4000-i, fmt.Sprintf("%d/3", 1+2*(i%2)), 0))
	}

	c.remove(1)

	h := c.history()
	if !h.Damaged.Started.Equal(bad.Started) || h.Damaged.String() != bad.String() {
		t.Errorf("the damage is forgotten: %+v", h.Damaged)
	}

	c.save(c.made(10, "2/3", 0))
	c.remove(1)

	if h := c.history(); !h.Damaged.Started.IsZero() {
		t.Errorf("a check that read as much found nothing: %+v", h.Damaged)
	}
}

// A check that ran for long is stored after others that began later and ended before:
// what it found is not lost between them.
func TestAReportThatCameLaterCounts(t *testing.T) {
	t.Parallel()
	c := newChecks(t)

	c.save(c.made(100, "1/3", 0))
	c.save(c.made(50, "2/3", 0))
	c.save(c.made(40, "3/3", 0)) // reads what was whole when the long one began
	c.save(c.made(30, "1/3", 0))
	long := c.made(35, "2/3", 1)
	c.save(long)

	if h := c.history(); !h.Damaged.Started.Equal(long.Started) {
		t.Errorf("the damage is not seen: %+v", h)
	}

	c.save(c.made(20, "1/3", 0))

	if h := c.history(); !h.Damaged.Started.Equal(long.Started) {
		t.Errorf("the damage is not carried on: %+v", h)
	}

	c.remove(1)

	if h := c.history(); !h.Damaged.Started.Equal(long.Started) {
		t.Errorf("the newest report does not tell of it: %+v", h)
	}
}

// Reports with and without what was before tell the same as a look at all of them.
func TestTrailIsWhatAllReportsTell(t *testing.T) {
	t.Parallel()

	for seed := range uint64(20) {
		c, r := newChecks(t), rand.New(rand.NewPCG(seed, 1))
		var all []Check

		for i := range 40 {
			x := c.made(1000-i, []string{"", "1/2", "2/2", "1/3", "2/3", "3/3", "5%", "100%"}[r.IntN(8)], max(0, r.IntN(5)-3))
			if x.ReadData == "100%" && r.IntN(3) > 0 {
				x.ReadData = ""
			}
			all = append(all, x)

			if r.IntN(4) > 0 {
				c.save(x)
			} else if err := platform.SaveReport(t.Context(), oneVault{v: c.v}, c.g, CheckReports, targets.IDTime(x.Started)+checkSuffix("shop", "east"), x); err != nil {
				t.Fatal(err) // of an older drctl
			}

			if got, want := c.history().Damaged, lookAtAll(all); !got.Started.Equal(want.Started) || got.String() != want.String() {
				t.Fatalf("seed %d, %d checks: %v, want %v", seed, len(all), got, want)
			}
		}
	}
}

// lookAtAll is the newest check that found damage which no later one has shown to be gone.
func lookAtAll(all []Check) Check {
	var sound coverage
	for _, c := range slices.Backward(all) {
		switch {
		case c.Failed == 0:
			sound.add(c.ReadData)
		case !sound.covers(c.ReadData):
			c.Findings = Worst(c.Findings, 1)
			return c
		}
	}

	return Check{}
}

// A report is as large as it was before, but for a few names.
func TestATrailStaysSmall(t *testing.T) {
	t.Parallel()
	var at trail

	for i := range 1000 {
		x := Check{ReadData: fmt.Sprintf("%d/20", i%20+1), Failed: i % 2, Findings: []targets.Finding{{Detail: strings.Repeat("x", 100)}}}
		at.add(fmt.Sprintf("%06d", i), x)
	}

	if len(at.Seen) != maxSeen || len(at.Open) > 20 {
		t.Errorf("%d names, %d open", len(at.Seen), len(at.Open))
	}
}
