package debrief

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"drctl/drills"
	"drctl/internal/platform"
	"drctl/internal/report/evidence"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/targets"
)

// facts turns what the workflow saw into what the record needs. The vault is
// nil when none can be reached; ran says who ran which step, where that is known.
func (w *Writer) facts(ctx context.Context, in Seen, v *vault.Vault, planned []byte, ran map[string]Ran) drills.Facts {
	host, _ := os.Hostname()

	f := drills.Facts{Def: in.Drill, Tool: evidence.Tool{Name: "drctl", Version: w.Version, Commit: evidence.KnownIf(w.Commit, "the build does not say")},
		ClockSource: "the engine's, for the drill as a whole; system clocks of the hosts that ran the steps, for these; written on host " + host,
		Generated:   in.Finished, Started: in.ordered(), Ended: in.Ended, Finished: in.Finished,
		Disaster: in.Disaster, By: in.By, Cut: in.Plan.Cut, Sample: in.Sample, Prechecks: in.Prechecks, Decisions: decisions(in),
		Bases: map[string]targets.Artifact{}, Outcomes: map[string]targets.Outcome{}, Checked: map[string][]targets.Finding{},
		CleanUp: cleanUp(in), Plan: evidence.Plan{ID: in.Plan.ID, SHA256: in.Plan.Hash},
		LostWhy: "the drill compares no journal from outside the stores; the cut's own age bounds the loss"}
	if planned != nil {
		f.Attachments = append(f.Attachments, evidence.Attach(planFile, "application/json", planned))
	}

	for _, s := range in.Plan.Steps {
		if s.Op == plan.OpRestore && s.Base.ID != "" {
			f.Bases[s.Shard.String()] = s.Base
		}
	}

	f.Steps = evidenceSteps(in, ran)
	for _, s := range in.Steps {
		if s.Op == plan.OpRestore && s.Error == "" {
			f.Outcomes[s.Shard.String()] = s.Outcome
		}

		if s.Op == plan.OpVerify && s.Error == "" {
			f.Checked[s.Shard.String()] = s.Findings
		}
		f.Findings = append(f.Findings, s.Findings...)
	}

	f.Findings = append(f.Findings, in.Cross.Findings...)

	f.Findings = append(f.Findings, unasked(in)...)
	for _, e := range in.Errors {
		f.Findings = append(f.Findings, targets.Finding{Check: drills.RanToItsEnd, Subject: in.Drill.Name, Severity: targets.Failed, Detail: e})
	}

	if in.Sandbox.Dir != "" {
		restored := addressesOf(in)
		f.Isolation, _ = drills.ProveIsolation(in.Sandbox.ID, in.Sandbox.Dir, restored, Production(ctx, w.Platform, in.Plan), f.Findings)
	}

	if g, err := w.Platform.Group(in.Drill.Group); err == nil {
		f.Posture = posture(g)
	}

	if v != nil {
		f.VaultURL, f.KeyID = v.Store().URL(), v.Recipient()
		f.Previous = previousOf(ctx, v, in.Drill.Name, in.Started)
	}

	return f
}

// unasked are failures of the assertions that no step has run, as the cut holds
// nothing of what they are about: it is older than the configuration.
func unasked(in Seen) (out []targets.Finding) {
	if len(in.Plan.Steps) == 0 {
		return nil // which is said
	}

	for _, on := range slices.Sorted(maps.Keys(in.Drill.Checks.Assertions)) {
		if !slices.ContainsFunc(in.Plan.Steps, func(s plan.Step) bool { return on == s.Shard.Target || on == s.Shard.String() }) {
			out = append(out, targets.Finding{Check: "assertions", Subject: on, Severity: targets.Failed, Expected: "its restored data", Got: "nothing of it", Detail: "the cut does not hold it"})
		}
	}

	return out
}

// previousOf is when a drill ran before, as far as the vault knows.
func previousOf(ctx context.Context, v *vault.Vault, name string, started time.Time) (last time.Time) {
	ids, err := v.Reports(ctx, drillReport)
	if err != nil {
		return last // the record says that none was found
	}

	for _, id := range ids {
		var prev evidence.Record
		if v.Report(ctx, drillReport, id, &prev) == nil && prev.Name == name && prev.Started.After(last) && prev.Started.Before(started) {
			last = prev.Started
		}
	}

	return last
}

func cleanUp(in Seen) evidence.CleanUp {
	c := evidence.CleanUp{RemovedAt: evidence.KnownIf(in.RemovedAt, "the sandbox was kept or could not be removed"), LeftOver: in.LeftOver}
	switch {
	case in.Sandbox.Dir == "":
		c.RemovedAt = evidence.Unknown[time.Time]("no sandbox was opened")
	case in.Keep:
		c.LeftOver = append(c.LeftOver, "the sandbox "+in.Sandbox.Dir+", kept as asked")
	case !in.KeptUntil.IsZero():
		c.LeftOver = append(c.LeftOver, "the sandbox "+in.Sandbox.Dir+", kept for inspection until "+in.KeptUntil.UTC().Format(time.RFC3339))
	}

	return c
}

func posture(g platform.Group) evidence.Posture {
	p := g.Policy

	return evidence.Posture{
		Coverage:   evidence.Known(fmt.Sprintf("%d shards of group %s", len(g.Shards), g.Name)),
		Frequency:  evidence.Known(frequency(p)),
		Retention:  evidence.Known(fmt.Sprintf("cuts for %s, bases for %s and at least %d of them", p.Retention.KeepCuts, p.Retention.KeepBasesFor, p.Retention.KeepBases)),
		Encryption: evidence.Known("age (X25519, ChaCha20-Poly1305) and restic (AES-256-CTR, Poly1305-AES), before upload"),
		Copies:     evidence.Known(fmt.Sprintf("vaults %v, %d must hold a byte before it counts as durable", p.Vaults, p.Durability)),
		Lock:       evidence.Unknown[string]("drctl did not ask the vault's store for an object lock"),
	}
}

// frequency puts the policy's intervals into words.
func frequency(p platform.Policy) string {
	every := func(what string, d time.Duration) string {
		if d <= 0 {
			return what + " by hand only"
		}

		return fmt.Sprintf("%s every %s", what, d)
	}

	s := every("a cut", p.CutEvery) + ", " + every("a base", p.BaseEvery) + ", " + every("a check of the vaults", p.CheckEvery)
	if p.ChunkAge > 0 {
		s += fmt.Sprintf("; logs are streamed without a pause, in chunks of at most %s", p.ChunkAge)
	}

	return s
}

// decisions are what people and rules chose on the way.
func decisions(in Seen) []evidence.Decision {
	rule := func(at time.Time, what, by, why string) evidence.Decision {
		return evidence.Decision{At: at, What: what, By: evidence.Known("rule: " + by), Reason: evidence.KnownIf(why, "the rule gives none")}
	}

	out := []evidence.Decision{{At: in.ordered(), What: "declared", By: evidence.KnownIf(in.By, "the engine was not told who"),
		Reason: evidence.KnownIf(in.Drill.Trigger, "the drill's definition names no trigger")}}
	if id := in.Plan.Cut.ID; id != "" {
		out = append(out, rule(in.Planned, "recover cut "+id, in.Sample.Method, fmt.Sprintf("one of %d that could be chosen", in.Sample.Population)))
	}

	for _, g := range in.Prechecks {
		what := "go"
		if !g.Passed {
			what = "no-go"
		}
		out = append(out, rule(g.At, what, "every gate must pass", g.Name+": "+g.Detail))
	}

	switch {
	case in.Sandbox.ID == "":
	case in.Keep:
		out = append(out, evidence.Decision{At: in.Ended, What: "keep the sandbox", By: evidence.KnownIf(in.By, "the engine was not told who"), Reason: evidence.Known("asked for with the drill")})
	case !in.KeptUntil.IsZero():
		out = append(out, rule(in.Ended, "keep the sandbox until "+in.KeptUntil.UTC().Format(time.RFC3339), "sandbox.keep of the configuration", "a step or a check failed"))
	}

	return out
}

// addressesOf rebuilds the restored instances from the steps' own answers,
// because the sandbox is gone by now.
func addressesOf(in Seen) []targets.Instance {
	var out []targets.Instance
	for _, s := range in.Steps {
		if s.Op == plan.OpRestore && s.Address != "" {
			kind := targets.Kind("")
			for _, p := range in.Plan.Steps {
				if p.Shard == s.Shard {
					kind = p.Kind
				}
			}
			out = append(out, targets.Instance{Kind: kind, Shard: s.Shard, Region: "sandbox", Role: targets.Sandbox, Address: s.Address,
				DataDir: filepath.Join(in.Sandbox.Dir, s.Shard.Target+"-"+s.Shard.Shard, "data")})
		}
	}

	return out
}

// Production lists the configured instances of a plan's shards. Where there is
// no configuration, as on the worst day, the list is empty.
func Production(ctx context.Context, p platform.Resolver, run plan.Run) []targets.Instance {
	var out []targets.Instance
	for _, s := range run.Steps {
		if s.Op != plan.OpRestore {
			continue
		}

		for _, r := range p.Regions(s.Shard) {
			if in, err := p.Instance(ctx, s.Shard, r); err == nil {
				out = append(out, in)
			}
		}
	}

	return out
}
