package atmoment

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/platform"
	"drctl/internal/proof/shardlog"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/moments"
	"drctl/restore/plan"
	"drctl/restore/runs"
	"drctl/targets"
)

const op = "proven moment"

// The records of a run's moments: that which was foreseen before anything was touched, and
// that to which the run goes.
const (
	Foreseen = "moment-foreseen"
	Settled  = "moment-settled"
)

// Place is where moments are found.
type Place struct {
	Platform platform.Resolver
	Logs     map[targets.Kind]shardlog.Opener
	Version  string // of drctl
}

// Bound is a moment of a run, with the restore that leads to it.
type Bound struct {
	Restore plan.Carried `json:"restore"`
	// Cut is its id; with a name it is kept as a sealed cut.
	Cut  string    `json:"cut"`
	Name string    `json:"name,omitempty"`
	At   time.Time `json:"at"`
	// Grade and Evidence say what is known of its consistency, and by what.
	Grade    targets.Grade `json:"grade"`
	Evidence string        `json:"evidence_sha256,omitempty"`
	// Asked is the newest instant that anybody observed.
	Asked    time.Time `json:"asked"`
	Warnings []string  `json:"warnings,omitempty"`
	// Broken are global transactions of which a part was lost or never came, the youngest of
	// BrokenCount.
	Broken      []targets.BrokenGlobal `json:"broken,omitempty"`
	BrokenCount int                    `json:"broken_count,omitempty"`
}

// Words are for people.
func (b Bound) Words() string {
	text := fmt.Sprintf("%s (%s), %s before the last that was observed", b.At.UTC().Format("2006-01-02T15:04:05.000Z"), b.Grade, human.Duration(b.Asked.Sub(b.At)))
	if b.Grade == targets.Ordered {
		text += ", of global transactions nothing is known"
	}

	if b.Evidence != "" {
		text += ", evidence " + b.Evidence[:min(12, len(b.Evidence))]
	}

	if b.Name != "" {
		text += ", kept as cut " + b.Name
	}

	if b.BrokenCount > 0 {
		text += fmt.Sprintf(", %s half done for long", human.Plural(b.BrokenCount, "global transaction"))
	}

	return strings.Join(append([]string{text}, b.Warnings...), "; ")
}

// HalfDone tells what was half done at the moment, for people; nothing of no moment.
func (b *Bound) HalfDone() (out []string) {
	if b == nil || b.BrokenCount == 0 {
		return nil
	}

	for _, x := range b.Broken {
		out = append(out, fmt.Sprintf("global transaction %q was half done at the moment, since %s: %s", x.ID, x.Since.UTC().Format(time.RFC3339), x.Parts()))
	}

	if left := b.BrokenCount - len(b.Broken); left > 0 {
		out = append(out, fmt.Sprintf("and %d more that were half done at the moment", left))
	}

	return out
}

// Whole reports whether the moment of a run is proven to have nothing half done but what it lists, by what the steps
// have returned.
func Whole(outs map[string]json.RawMessage) bool {
	for _, out := range outs {
		var b Bound
		if json.Unmarshal(out, &b) == nil && b.Cut != "" && b.Grade == targets.Proven {
			return true
		}
	}

	return false
}

// Read reads a moment of a run, and the restore that leads to it. Not-found: there is none yet.
func (p Place) Read(ctx context.Context, d plan.Definition, run, which string) (b Bound, r plan.Run, err error) {
	v, err := p.Platform.Vault(ctx, d.To)
	if err == nil {
		err = v.Report(ctx, runs.JournalKind(d.Group, run), which, &b)
	}

	if err == nil {
		r, err = inventory.LoadRun(ctx, p.Platform.Vault, b.Restore)
	}

	return b, r, err
}

// Settle finds the newest moment by the vault of the region that takes over, and binds a run to it.
// A run that has one keeps it.
func (p Place) Settle(ctx context.Context, d plan.Definition, run, which string) (Bound, error) {
	if b, _, err := p.Read(ctx, d, run, which); err == nil || !fail.Is(err, fail.NotFound) {
		return b, err
	}

	v, err := p.Platform.Vault(ctx, d.To)
	if err != nil {
		return Bound{}, err
	}

	g, err := p.Platform.Group(d.Group)
	if err != nil {
		return Bound{}, err
	}

	now := time.Now().UTC()

	n, err := p.moments(v).Newest(ctx, moments.GoalOf(d), &g, now)
	if err != nil {
		return Bound{}, err
	}

	b := Bound{Asked: n.Asked, Warnings: append(n.Warnings, p.behind(ctx, v, d.Group, n.Asked, now)...)}
	b.tell(n.Found.Cut)

	if which == Settled && len(n.Found.Evidence) > 0 {
		p.keep(ctx, v, n.Found, "failover-"+strings.ToLower(run), &b)
	}
	alone := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}

	if b.Restore, err = inventory.SaveRun(ctx, alone, n.Run); err != nil {
		return b, err
	}

	if _, err = alone.SaveReport(ctx, runs.JournalKind(d.Group, run), which, b); fail.Is(err, fail.Conflict) {
		b, _, err = p.Read(ctx, d, run, which) // somebody was quicker
	}

	return b, err
}

// keep gives the moment a name and has it sealed, so that it can be proven anew later.
// Without that the recovery goes on: its evidence is what it rests on now.
func (p Place) keep(ctx context.Context, v *vault.Vault, found moments.Found, name string, b *Bound) {
	_, err := p.moments(v).Keep(ctx, vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}, found, name)
	if err != nil {
		b.Warnings = append(b.Warnings, "the moment could not be kept as a cut: "+err.Error())
		return
	}
	b.Name = name
}

func (p Place) moments(v *vault.Vault) moments.Place {
	return moments.Place{Vault: v, Logs: p.Logs, Version: p.Version}
}

func (b *Bound) tell(c targets.Cut) {
	b.Cut, b.Name, b.At, b.Grade = c.ID, c.Name, c.QuiescedAt, targets.Locked
	if c.Proof != nil {
		b.Grade, b.Evidence, b.Broken, b.BrokenCount = c.Proof.Grade, c.Proof.Evidence, c.Proof.Broken, c.Proof.BrokenCount
	}
}

// Laid is what a shard was laid down to, and what is given up for that.
type Laid struct {
	Step     string          `json:"step"`
	Shard    targets.ShardID `json:"shard"`
	Cut      string          `json:"cut"`
	At       time.Time       `json:"at"`
	Grade    targets.Grade   `json:"grade"`
	Evidence string          `json:"evidence_sha256,omitempty"`
	// Point is where its log ends now, and Standby how far the standby was whose place it took;
	// zero when that did not run.
	Point   targets.Position `json:"point"`
	Standby targets.Position `json:"standby,omitzero"`
	// GivenUp is how many bytes of log the standby had beyond the point; -1: not known.
	GivenUp int64 `json:"given_up_bytes"`
	// Bytes are those of the base and the log that were read for that, before compression.
	Bytes int64 `json:"bytes,omitempty"`
	// Kept is where the standby's directory is, on Host; "" when it was not moved.
	Kept string `json:"kept,omitempty"`
	Host string `json:"host,omitempty"`
	// Ended and InDoubt are transactions that were prepared at the moment: those that were ended by
	// rule, and those that were left, each with its reason.
	Ended   []string `json:"ended,omitempty"`
	InDoubt []string `json:"in_doubt,omitempty"`
}

// Given compares a shard's point with where its standby was.
func (b Bound) Given(s plan.Step, standby targets.Position) Laid {
	out := Laid{Shard: s.Shard, Cut: b.Cut, At: b.At, Grade: b.Grade, Evidence: b.Evidence, Point: s.Point, Standby: standby, GivenUp: -1}
	if standby.Timeline == s.Point.Timeline {
		out.GivenUp = max(0, int64(standby.Offset)-int64(s.Point.Offset))
	}

	return out
}

// Words are for people.
func (l Laid) Words() string {
	text := fmt.Sprintf("laid down as of %s (%s, cut %s)", l.At.UTC().Format("2006-01-02T15:04:05.000Z"), l.Grade, l.Cut)

	switch {
	case l.Standby.Timeline == "":
		text += "; its standby did not run: how much newer it was is not known"
	case l.GivenUp < 0:
		text += fmt.Sprintf("; its standby was at %s, on another line of log: how much newer it was is not known", l.Standby)
	case l.GivenUp == 0:
		text += "; its standby was no newer"
	default:
		text += fmt.Sprintf("; its standby was newer by %s of log, which are given up", human.Bytes(l.GivenUp))
	}

	if l.Kept != "" {
		text += "; the standby's directory is kept in " + l.Kept
		if l.Host != "" {
			text += " on " + l.Host
		}
	}

	if n := len(l.Ended); n > 0 {
		text += fmt.Sprintf("; %s ended by rule", human.Plural(n, "prepared transaction"))
	}

	if n := len(l.InDoubt); n > 0 {
		text += fmt.Sprintf("; %s left in doubt", human.Plural(n, "prepared transaction"))
	}

	return text
}
