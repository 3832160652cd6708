package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/platform"
	"drctl/internal/ui"
	"drctl/restore/readiness"
	"drctl/targets"
)

func passed(check, subject, format string, args ...any) answer.Finding {
	return answer.Finding{Check: check, Subject: subject, Severity: targets.Passed, Message: fmt.Sprintf(format, args...)}
}

// failed tells an error: its hint is what to do.
func failed(check, subject string, err error) answer.Finding {
	p := readiness.Problem{}.Because(err)
	return answer.Finding{Check: check, Subject: subject, Severity: targets.Failed, Message: p.Why, Fix: p.Next}
}

// notAsked is for what cannot be asked before something else is mended.
func notAsked(check, subject, why string) answer.Finding {
	return answer.Finding{Check: check, Subject: subject, Severity: targets.Skipped, Message: why}
}

// preflightLimit is how long one check may take.
const preflightLimit = 30 * time.Second

// connect asks everything that the configuration names whether the platform can
// run: all at once, so that a person mends everything in one round.
func (a *app) connect(ctx context.Context, region string) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}

	if err := knownRegion(cfg, "--region", region); err != nil {
		return err
	}
	tools, toolsErr := configured.Tools(cfg)
	log := slog.New(slog.DiscardHandler) // what goes wrong is a finding
	pf := preflight{session: &session{app: a, cfg: cfg, log: log, p: configured.New(cfg, tools, log)}, region: region, toolsErr: toolsErr}

	all := []answer.Finding{}
	for fs := range inOrder(ctx, pf.checks()) {
		all = append(all, fs...)
		if !a.json {
			a.printFindings(fs)
		}
	}

	if ctx.Err() != nil {
		return ctx.Err() // what did not answer was cut off
	}

	return a.judged(all)
}

// inOrder runs all checks at once and yields what each found, in their order.
func inOrder(ctx context.Context, checks []func(context.Context) []answer.Finding) func(func([]answer.Finding) bool) {
	answers := make([]chan []answer.Finding, len(checks))
	for i, check := range checks {
		answers[i] = make(chan []answer.Finding, 1)
		go func() {
			ctx, cancel := context.WithTimeout(ctx, preflightLimit)
			defer cancel()

			answers[i] <- check(ctx)
		}()
	}

	return func(yield func([]answer.Finding) bool) {
		for _, c := range answers {
			if !yield(<-c) {
				return
			}
		}
	}
}

// printFindings prints one line for each, and below it what to do.
func (a *app) printFindings(fs []answer.Finding) {
	style := a.style()
	for _, f := range fs {
		mark := map[targets.Severity]string{targets.Passed: style.Good("ok     "), targets.Warned: "warning",
			targets.Failed: style.Bad("FAILED "), targets.Skipped: style.Dim("skipped")}[f.Severity]
		fmt.Fprintf(a.out, "%s  %s %s: %s\n", mark, f.Check, f.Subject, f.Message)

		if f.Fix != "" {
			fmt.Fprintf(a.out, "         -> %s\n", f.Fix)
		}
	}
}

// judged ends the command with 4 when anything failed or could not be asked.
func (a *app) judged(all []answer.Finding) error {
	bad := 0
	for _, f := range all {
		if f.Severity == targets.Failed || f.Severity == targets.Skipped {
			bad++
		}
	}

	if a.json {
		if err := a.printJSON(answer.Preflight{Format: 1, OK: bad == 0, Findings: all}); err != nil {
			return err
		}
	}

	switch {
	case bad == 0:
		if !a.json {
			fmt.Fprintf(a.out, "preflight: everything that was looked at is in order (%s)\n", human.Plural(len(all), "finding"))
		}

		return nil
	case a.json:
		return ui.Exit{Code: 4}
	}

	return ui.Exit{Code: 4, Message: fmt.Sprintf("preflight: %d of %s to mend", bad, human.Plural(len(all), "finding"))}
}

// preflight is what the checks stand on.
type preflight struct {
	*session
	region   string // the one whose view is asked for; "" is that of all
	toolsErr error
}

func (p preflight) has(region string) bool { return p.region == "" || p.region == region }

// checks are independent of one another.
func (p preflight) checks() []func(context.Context) []answer.Finding {
	out := []func(context.Context) []answer.Finding{p.programs, p.secrets, p.keyFile, p.theEngine}
	for _, region := range p.cfg.RegionNames() {
		if p.has(region) {
			out = append(out, func(ctx context.Context) []answer.Finding { return p.theVault(ctx, region) })
		}
	}

	for _, id := range p.cfg.Shards("") {
		group, err := p.cfg.GroupOf(id)
		if err != nil {
			continue // in no group it is not protected, of which the file's warnings tell
		}

		for _, region := range p.cfg.ShardRegions(id) {
			if p.has(region) {
				out = append(out, func(ctx context.Context) []answer.Finding { return p.instance(ctx, group, id, region) })
			}
		}
	}

	return out
}

// secrets resolves every reference, but for the key's, which is checked as a key.
func (p preflight) secrets(ctx context.Context) []answer.Finding {
	var out []answer.Finding

	good := 0
	for _, r := range p.cfg.Refs() {
		if r.Path == "key" || !p.concerns(r) {
			continue
		}

		if _, err := p.cfg.Secret(ctx, r.Ref); err != nil {
			out = append(out, failed("secret", r.Path, err))
			continue
		}

		good++
	}

	if good > 0 {
		out = append(out, passed("secret", "all others", "%s resolved", human.Plural(good, "reference")))
	}

	if len(out) == 1 && good > 0 {
		out[0].Subject = "all"
	}

	return out
}

// concerns leaves out the secrets of other regions, which their hosts have.
func (p preflight) concerns(r config.RefAt) bool {
	parts := strings.Split(r.Path, ".")
	switch {
	case parts[0] == "regions":
		return p.has(parts[1])
	case len(parts) > 5 && parts[2] == "shards":
		return p.has(parts[4])
	}

	return true
}

func (p preflight) keyFile(ctx context.Context) []answer.Finding {
	key, err := p.p.Key(ctx)
	if err == nil {
		return []answer.Finding{passed("key", p.cfg.Key.String(), "it opens what is sealed to %s", key.Recipient())}
	}

	f := failed("key", p.cfg.Key.String(), err)
	if errors.Is(err, platform.ErrNoKey) {
		f.Fix = configured.MakeKey
	}

	return []answer.Finding{f}
}

// instance looks at one server: whether it answers, and what its user lacks.
func (p preflight) instance(ctx context.Context, group string, id targets.ShardID, region string) []answer.Finding {
	const check = "instance"
	name := id.String() + "@" + region

	in, err := p.p.Instance(ctx, id, region)
	if err != nil {
		return []answer.Finding{notAsked(check, name, "not asked: its secret cannot be had")}
	}

	d, err := driversOf(p.p.Programs, p.log)(in.Kind)
	if err != nil {
		return []answer.Finding{failed(check, name, err)}
	}
	st, err := d.Reach(ctx, in)

	var out []answer.Finding
	if pre, ok := d.(targets.Preflighter); ok && (err == nil || fail.Is(err, fail.Denied)) {
		g, _ := p.p.Group(group)

		lacks, lerr := pre.Preflight(ctx, in, g.Needs(true))
		for _, l := range lacks {
			out = append(out, answer.Finding{Check: check, Subject: name, Severity: targets.Failed, Message: "lacks " + l.What + " (for " + l.For + ")", Fix: l.Fix})
		}

		if err == nil {
			err = lerr
		}
	}
	// A probe that is denied names one right; all were named above.
	if err != nil && (len(out) == 0 || !fail.Is(err, fail.Denied)) {
		return append(out, failed(check, name, err))
	}

	if err != nil {
		return out
	}

	if st.Role != in.Role {
		st.Warnings = append(st.Warnings, fmt.Sprintf("it is a %s, the configuration says %s", st.Role, in.Role))
	}

	for _, w := range st.Warnings {
		out = append(out, answer.Finding{Check: check, Subject: name, Severity: targets.Warned, Message: w})
	}

	if err := p.fits(ctx, d, id, st); err != nil {
		out = append(out, p.forDrills(failed("program", name, err)))
	}

	if len(out) == 0 {
		out = append(out, passed(check, name, "%s, a %s at %s: it answers, and its user has every right", st.Version, st.Role, in.Address))
	}

	return out
}

// errNoProgram is in the finding of a program that is nowhere.
var errNoProgram = errors.New("the program is neither beside drctl nor in PATH")
