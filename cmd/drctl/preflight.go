package main

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"drctl/cmd/drctl/answer"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/supervise"
	"drctl/internal/vault"
	"drctl/internal/vault/restic"
	"drctl/internal/vault/trial"
	"drctl/targets"
)

// programs looks at what this host must have installed.
func (p preflight) programs(ctx context.Context) []answer.Finding {
	const check = "program"

	var out []answer.Finding
	if p.toolsErr != nil {
		out = append(out, failed(check, "sandbox.tools", p.toolsErr))
	}

	if bin := p.p.Programs.ResticBin; bin == "" {
		out = append(out, failed(check, "restic", fail.New(fail.NotFound, "find tools", "restic", "install restic "+restic.MinVersion+" or later, or name it under sandbox.tools.restic", errNoProgram)))
	} else if v, err := (&restic.Repo{Bin: bin}).Version(ctx); err != nil {
		out = append(out, failed(check, "restic", err))
	} else {
		out = append(out, passed(check, "restic", "%s at %s", v, bin))
	}

	// The servers of sandboxes: drills and restores need them, archiving does not.
	kinds := map[string]bool{}
	for _, t := range p.cfg.Targets {
		kinds[t.Kind] = true
	}

	for _, x := range []struct{ kind, name, path, hint string }{
		{"postgres", "postgres", p.p.Programs.PostgresBin, "install the servers' major version of postgresql, or name its directory under sandbox.tools.postgres_bin"},
		{"redis", "redis-server", p.p.Programs.RedisServer, "install redis-server, or name it under sandbox.tools.redis_server"},
		{"s3", "versitygw", p.p.Programs.S3Server, "install versitygw, or name it under sandbox.tools.s3_server"},
	} {
		switch {
		case !kinds[x.kind]:
		case x.path == "":
			out = append(out, p.forDrills(failed(check, x.name, fail.New(fail.NotFound, "find tools", x.name, x.hint, errNoProgram))))
		default:
			out = append(out, passed(check, x.name, "at %s", x.path))
		}
	}

	if kinds["postgres"] || kinds["redis"] {
		if _, err := p.p.Programs.RunAs.Credential(); err != nil {
			out = append(out, p.forDrills(failed(check, "sandbox.run_as", err)))
		}
	}

	return out
}

// forDrills makes a failure a warning where nothing is rehearsed.
func (p preflight) forDrills(f answer.Finding) answer.Finding {
	if len(p.cfg.Drills) == 0 {
		f.Severity = targets.Warned
		f.Message += "; restores into a sandbox need it"
	}

	return f
}

// fits compares a server's version with the programs here, as a restore would.
func (p preflight) fits(ctx context.Context, d targets.Driver, id targets.ShardID, st targets.Status) error {
	fitter, ok := d.(targets.Fitter)
	major, _, _ := strings.Cut(st.Version, ".")

	n, err := strconv.Atoi(major)
	if !ok || d.Kind() != targets.Postgres || err != nil || p.p.Programs.PostgresBin == "" {
		return nil
	}

	return fitter.Fits(ctx, targets.Artifact{ID: "that is to come", Shard: id, Kind: d.Kind(), Settings: map[string]string{"server_version_num": strconv.Itoa(n * 10_000)}})
}

// theEngine dials an engine of the platform's own. The embedded one is started
// by drctl up: until then there is nothing but its program.
func (p preflight) theEngine(ctx context.Context) []answer.Finding {
	const check = "engine"

	address := p.cfg.Engine.Address
	if p.cfg.Engine.Mode == config.Embedded {
		if st, err := supervise.ReadState(p.cfg.StateDir); err != nil || !st.Alive() {
			bin, err := findEngine("")
			if err != nil {
				return []answer.Finding{failed(check, "drctl-engine", err)}
			}

			return []answer.Finding{passed(check, "drctl-engine", "at %s; drctl up starts it on %s", bin, address)}
		}
	}

	c, err := dial(ctx, p.cfg, p.log)
	if err != nil {
		return []answer.Finding{failed(check, address, err)}
	}

	defer c.Close()
	out := []answer.Finding{passed(check, address, "it answers and has the namespace %s", p.cfg.Engine.Namespace)}

	lacks, err := p.p.Lacks(ctx, c, p.region)
	if err != nil {
		return append(out, failed("worker", address, err))
	}

	for _, l := range lacks {
		out = append(out, answer.Finding{Check: "worker", Subject: l.Subject, Severity: targets.Warned, Message: l.What + ": " + l.Needed, Fix: l.Next})
	}

	return out
}

// theVault asks a vault step by step, as far as it gets: is it there, does the
// key open it, does it take and give back what is written.
func (p preflight) theVault(ctx context.Context, region string) []answer.Finding {
	const check = "vault"

	opt, err := p.p.VaultPlace(ctx, region)
	if err != nil {
		return []answer.Finding{notAsked(check, region, "not asked: its secret cannot be had")}
	}

	_, _, recipient, err := vault.Describe(ctx, opt.Location)
	if errors.Is(err, vault.ErrNoVault) {
		return []answer.Finding{{Check: check, Subject: region, Severity: targets.Failed, Message: "there is no vault at " + opt.Location.URL + " yet", Fix: "drctl vault init"}}
	}

	if err != nil {
		return []answer.Finding{failed(check, region, err)}
	}

	if _, err := p.p.Key(ctx); err != nil {
		return []answer.Finding{notAsked(check, region, "it is there, sealed to "+recipient+"; not opened, because the key cannot be had")}
	}

	v, err := p.p.Vault(ctx, region)
	if err != nil {
		return []answer.Finding{failed(check, region, err)}
	}

	var out []answer.Finding
	for _, err := range trial.Try(ctx, v.Store()) {
		out = append(out, failed(check, region, err))
	}

	if len(out) == 0 {
		out = append(out, passed(check, region, "%s: the key opens it, and it takes, keeps, gives back and removes what is written", v.Store().URL()))
	}

	return out
}
