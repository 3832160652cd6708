package gamedays

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/detecting"
	"drctl/cmd/drctl/plans"
	"drctl/cmd/drctl/regional"
	"drctl/config"
	conf "drctl/config/gameday"
	"drctl/drills/gameday"
	"drctl/internal/detection"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/moment"
	"drctl/internal/platform"
	"drctl/internal/report/evidence"
	"drctl/internal/upkeep"
	"drctl/restore/failover"
	"drctl/restore/plan"
	"drctl/restore/readiness"
	codes "drctl/restore/readiness/problem"
	"drctl/targets"
	"drctl/targets/all"
	"drctl/workflows"
	"drctl/workflows/observe"
)

const op = "game day"

// Resolver is the configured platform with what it says of game days.
type Resolver struct {
	*configured.Platform
	// Log is where questions are answered.
	Log *slog.Logger
}

// GameDay is a drill as configured. Invalid: there is none of that name, or it is no game day.
func (r Resolver) GameDay(name string) (gameday.Definition, error) { return Definition(r.Config, name) }

// Definition turns a configured game day into plain data.
func Definition(cfg *config.Config, name string) (gameday.Definition, error) {
	d := cfg.Drills[name]
	if d == nil || d.GameDay == nil {
		return gameday.Definition{}, fail.Newf(fail.NotFound, op, name, "the configuration has no game day of this name")
	}
	g := d.GameDay

	out := gameday.Definition{Name: name, Platform: cfg.Name, Group: d.Group, Run: g.Run, From: g.From, To: g.To, Fence: g.Fence, Tell: g.Tell, Limit: g.Limit,
		Permit: g.Production, Every: d.Every, Vault: d.Vault, Objectives: evidence.Objectives{RTO: d.Objectives.RTO, RPO: d.Objectives.RPO},
		Scenario: d.Scenario, Hypothesis: d.Hypothesis, Participants: d.Participants, Owner: g.Owner, Due: g.Due}

	for i, x := range g.Faults {
		fs, err := faults(cfg, d.Group, i, x)
		if err != nil {
			return out, err
		}
		out.Faults = append(out.Faults, fs...)
	}

	for _, x := range g.Expect {
		out.Expect = append(out.Expect, gameday.Check(x))
	}

	for _, x := range g.Stop {
		out.Stop = append(out.Stop, gameday.Check(x))
	}

	if g.Red != nil {
		red := gameday.Check(*g.Red)
		out.Red = &red
	}

	return out, known(out)
}

// known refuses questions for problems that there are not: a reason to stop that nobody can give stops nothing.
func known(d gameday.Definition) error {
	all := slices.Concat(d.Expect, d.Stop)
	if d.Red != nil {
		all = append(all, *d.Red)
	}

	for _, k := range all {
		if k.Problem != "" && !codes.Known(k.Problem) {
			return fail.New(fail.Invalid, op, d.Name, human.Suggest(k.Problem, codes.Codes()), fmt.Errorf("there is no problem %q: codes are as drctl status --json shows them", k.Problem))
		}
	}

	return nil
}

// faults are one for each server that a configured one means.
func faults(cfg *config.Config, group string, i int, x conf.Fault) (out []gameday.Fault, err error) {
	p, ok := conf.ParseOn(x.On)
	if !ok || cfg.Regions[p.Region] == nil {
		return nil, fail.Newf(fail.Invalid, op, x.On, "it is no server and no region")
	}

	f := gameday.Fault{ID: fmt.Sprintf("%d-%s", i+1, x.Do), At: x.At, Do: x.Do, Region: p.Region, Queue: cfg.Regions[p.Region].Queue, For: x.For, Exec: x.Exec, Undo: x.Undo}
	if step, ok := strings.CutPrefix(x.At, conf.StepPrefix); ok {
		f.At, f.Step = gameday.AtStep, step
	}

	if p.Shard == "" && x.Do == conf.Exec {
		return []gameday.Fault{f}, nil
	}

	for _, id := range cfg.Shards(group) {
		if p.Shard != "" && id.String() != p.Shard || !slices.Contains(cfg.ShardRegions(id), p.Region) {
			continue
		}

		own := f
		own.Shard = id
		in := cfg.Targets[id.Target].Shards[id.Shard][p.Region]
		own.Dir, own.Start, own.Queue = in.DataDir, in.Start, platform.Queue(f.Queue, in.Host, platform.Base)

		if p.Shard == "" {
			own.ID += "-" + id.Target + "-" + id.Shard
		}
		out = append(out, own)
	}

	if len(out) == 0 {
		return nil, fail.Newf(fail.Invalid, op, x.On, "the group has no such server")
	}

	return out, nil
}

// Plan derives the plan that a drill runs, by the code of drctl switchover, failover and failback.
func (r Resolver) Plan(d gameday.Definition) (plan.Definition, error) {
	return regional.Derive(r.Config, plans.Wanted{Group: d.Group, Mode: d.Run, From: d.From, To: d.To}, d.Fence)
}

// VerifiedFor is for how long a run shows that a plan of a group works.
func (r Resolver) VerifiedFor(group string) time.Duration { return plans.VerifiedFor(r.Config, group) }

// Ask answers a check. Nothing of this process's knowledge is used: the platform is resolved anew.
func (r Resolver) Ask(ctx context.Context, c client.Client, d gameday.Definition, k gameday.Check) (so bool, words string, err error) {
	quiet := slog.New(slog.DiscardHandler)
	p := configured.New(r.Config, r.Programs, quiet)

	switch {
	case k.Problem != "":
		return problem(ctx, p, c, d.Group, k)
	case k.Lint != "":
		return lint(p.Config, d, k.Lint)
	case k.Verify != "":
		return verify(ctx, p, d.Group, k.Verify)
	case k.Prove != "":
		return prove(ctx, p, d.Group, k.Prove)
	case k.Detection != "":
		return detected(ctx, p, d.Group, k)
	}

	return false, "", fail.Newf(fail.Invalid, op, d.Name, "nobody can answer: %s", k.Words())
}

// problem asks what drctl status shows.
func problem(ctx context.Context, p *configured.Platform, c client.Client, group string, k gameday.Check) (so bool, words string, err error) {
	g, err := p.Group(group)
	if err != nil {
		return false, "", err
	}
	ids := workflows.IDs(p.Config.Name)
	o := observe.Observer{Client: c, IDs: ids, Embedded: p.Config.Engine.Mode == config.Embedded, Queues: p.Served,
		Schedules: func() ([]engine.Schedule, error) { return nil, nil }, Drills: func(string) []string { return nil }}

	drivers := map[targets.Kind]targets.Driver{}
	for _, d := range all.Drivers(all.Options{Tools: p.Programs, Log: slog.New(slog.DiscardHandler)}) {
		drivers[d.Kind()] = d
	}

	src := readiness.Sources{Platform: p, Regions: p.Config.RegionNames(), Engine: o.Group, Driver: func(kind targets.Kind) (targets.Driver, error) {
		if d := drivers[kind]; d != nil {
			return d, nil
		}

		return nil, fail.Newf(fail.Unsupported, op, string(kind), "this build knows no such kind of store")
	}}

	var codes []string
	for _, x := range readiness.Gather(ctx, src, g, readiness.Scope{}).Judge() {
		if x.Code == k.Problem && (k.On == "" || x.Subject == k.On) {
			return true, x.What + ": " + x.Why, ctx.Err()
		}
		codes = append(codes, x.Code+" of "+x.Subject)
	}

	return false, "status shows " + human.Plural(len(codes), "problem") + ": " + strings.Join(codes, ", "), ctx.Err()
}

// lint asks what drctl plan lint says.
func lint(cfg *config.Config, d gameday.Definition, says string) (so bool, words string, err error) {
	p, t, err := plans.Wanted{Group: d.Group, Mode: d.Run, From: d.From, To: d.To}.Plan(cfg, nil)
	if err != nil {
		return false, "", err
	}
	found := failover.Lint(p, t)

	for _, x := range found {
		if strings.Contains(x.Text, says) {
			return true, strings.TrimSpace(x.Step + " " + x.Text), nil
		}
	}

	return false, "the lint says " + human.Plural(len(found), "thing"), nil
}

// verify asks what drctl vault check says, of every byte.
func verify(ctx context.Context, p *configured.Platform, group, region string) (so bool, words string, err error) {
	g, err := p.Group(group)
	if err != nil {
		return false, "", err
	}

	v, err := p.Vault(ctx, region)
	if err != nil {
		return false, "", err
	}

	out, err := upkeep.CheckVault(ctx, v, g, "1/1", func(string, int64, int64) {})
	if err != nil {
		return false, "", err
	}

	for _, f := range out.Findings {
		if f.Severity == targets.Failed {
			return true, f.Check + " of " + f.Subject + ": " + f.Got + " " + f.Detail, nil
		}
	}

	return false, human.Plural(out.Checks, "check") + " passed", nil
}

// prove asks what drctl cut prove says of the newest cut of a vault.
func prove(ctx context.Context, p *configured.Platform, group, region string) (so bool, words string, err error) {
	v, err := p.Vault(ctx, region)
	if err != nil {
		return false, "", err
	}

	cuts, err := v.Cuts(ctx, group)
	if fail.Is(err, fail.Corrupt) {
		return true, err.Error(), nil
	}

	if err != nil || len(cuts) == 0 {
		return false, "", errors.Join(err, fail.Newf(fail.NotFound, op, group, "the vault of %s has no cut", region))
	}

	newest := slices.MaxFunc(cuts, func(a, b targets.Cut) int { return strings.Compare(a.ID, b.ID) })

	r, err := moment.Prove(ctx, v, all.Logs(), &newest, nil)

	switch {
	case fail.Is(err, fail.Corrupt):
		return true, err.Error(), nil
	case err != nil:
		return false, "", err
	case !r.Accepted:
		return true, newest.ID + ": " + strings.Join(r.Faults, "; "), nil
	}

	return false, newest.ID + " is proven", nil
}

// detected asks what the vantage points hold of a region.
func detected(ctx context.Context, p *configured.Platform, group string, k gameday.Check) (so bool, words string, err error) {
	s, err := detecting.Look(ctx, p, group)
	if err != nil {
		return false, "", err
	}

	return told(s.Votes, k, time.Now())
}

// told is what the vantage points say that still speak. Unavailable: none of them has said anything of the region.
func told(votes []detection.Vote, k gameday.Check, now time.Time) (so bool, words string, err error) {
	var seen []string
	heard := false

	for _, v := range votes {
		if age := now.Sub(v.Wall); age > detecting.Late {
			seen = append(seen, v.Place+": silent for "+human.Duration(age.Round(time.Second)))
			continue
		}

		if v.Region == k.On && v.State == detection.State(k.Detection) {
			return true, v.Place + " since " + v.Since.UTC().Format("15:04:05.000") + ": " + strings.Join(v.Reasons, "; "), nil
		}
		heard = heard || v.Region == k.On
		seen = append(seen, v.Place+": "+v.Region+" is "+string(v.State))
	}

	if !heard {
		return false, "", fail.Newf(fail.Unavailable, op, k.On, "no vantage point tells of it: %s", strings.Join(seen, ", "))
	}

	return false, strings.Join(seen, ", "), nil
}
