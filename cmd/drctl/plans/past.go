package plans

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/config/recovery"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/internal/vault"
	"drctl/restore/failover"
	"drctl/restore/forecast"
	"drctl/restore/history"
	"drctl/restore/plan"
	"drctl/restore/readiness"
)

// VerifiedFor is for how long a run or a drill counts for a plan of the group; 0 is for ever.
func VerifiedFor(cfg *config.Config, group string) time.Duration {
	if r := cfg.Recovery[group]; r != nil {
		return r.Verified
	}

	return recovery.VerifiedFor
}

// vaults opens the vaults of a group that answer.
func (f Faces) vaults(cfg *config.Config) func(context.Context, string) (vault.Set, error) {
	if f.Vaults != nil {
		return f.Vaults
	}

	return Vaults(cfg)
}

// Vaults opens the vaults of a group of the configuration that answer.
func Vaults(cfg *config.Config) func(context.Context, string) (vault.Set, error) {
	return func(ctx context.Context, group string) (vault.Set, error) {
		return configured.Answering(ctx, cfg, group)
	}
}

// Past is what past runs and drills say of a plan. not names a run that does not count.
func Past(ctx context.Context, set vault.Set, cfg *config.Config, d plan.Definition, not string) answer.Foreseen {
	out := answer.Foreseen{Group: d.Group, Mode: d.Mode, From: d.From, To: d.To, Plan: d.Hash()}
	if p, err := cfg.Policy(d.Group); err == nil {
		out.Objective = p.Objectives.RTO
	}

	past := history.Read(ctx, set, d.Group, time.Now(), VerifiedFor(cfg, d.Group))
	out.Verification = past.Verified(history.Ask{Plan: out.Plan, To: d.To, Mode: d.Mode, Not: not})
	out.Forecast = forecast.Of(d, d.Mode, past.Samples(), nil, out.Objective)

	if err := past.Err(); err != nil {
		out.Unread = err.Error()
	}

	return out
}

// Tell says in some lines what past runs and drills say of a plan. It fails with nothing: what
// is not known is said.
func Tell(ctx context.Context, w io.Writer, open func(context.Context, string) (vault.Set, error), cfg *config.Config, d plan.Definition) {
	set, err := open(ctx, d.Group)
	if err != nil {
		fmt.Fprintf(w, "UNVERIFIED, as far as is known: no vault tells: %v\n", err)
		return
	}
	p := Past(ctx, set, cfg, d, "")

	fmt.Fprintln(w, p.Verification)
	foreseen(w, p)
}

// foreseen says how long a plan will take, where anything is known of it.
func foreseen(w io.Writer, p answer.Foreseen) {
	f := p.Forecast
	if len(f.Unknown) < len(f.Steps) {
		least := ""
		if len(f.Unknown) > 0 { // they count as nothing
			least = "at least "
		}

		fmt.Fprintf(w, "half of the runs take %s%s, and %s where every step is slow", least, human.Duration(f.Total.P50), human.Duration(f.Total.P95))

		if f.People.P50 > 0 {
			fmt.Fprintf(w, " (%s of it waiting for people)", human.Duration(f.People.P50))
		}

		fmt.Fprintln(w)
	}

	for _, x := range f.Warnings {
		fmt.Fprintln(w, "WARNING: "+x)
	}

	if p.Unread != "" {
		fmt.Fprintln(w, "WARNING: not all of it is known: "+p.Unread)
	}
}

func (f Faces) forecast() *cobra.Command {
	var s Wanted
	c := &cobra.Command{
		Use: "forecast", Short: "Say how long a plan will take, by its past runs and drills", Args: cobra.NoArgs,
		Long: `Says of every step, and of the chain of steps that decides, how long it took in half of the
past runs and drills of the group, and in 95 of 100. Steps of which nothing is known are
named; they count as nothing. Exit status 4 when the objective (policies.NAME.objectives.rto)
is out of reach or may be missed.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.foresee(cmd.Context(), s) },
	}
	s.Flags(c)

	return c
}

func (f Faces) foresee(ctx context.Context, s Wanted) error {
	cfg, err := f.Load()
	if err != nil {
		return err
	}

	d, _, err := s.Plan(cfg, nil)
	if err != nil {
		return err
	}

	set, err := f.vaults(cfg)(ctx, d.Group)
	if err != nil {
		return err
	}
	p := Past(ctx, set, cfg, d, "")

	if err := f.print(p, func() error { return f.forecastTable(d, p) }); err != nil {
		return err
	}

	if p.Forecast.Danger != "" {
		return fail.Newf(fail.Unverified, "plan forecast", d.Group, "%s", p.Forecast.Danger)
	}

	return nil
}

func (f Faces) forecastTable(d plan.Definition, p answer.Foreseen) error {
	fmt.Fprintf(f.Out, "%s, plan %s\n%s\n\n", title(d), p.Plan, p.Verification)

	var rows [][]string
	for _, s := range p.Forecast.Steps {
		row := []string{s.Step, "not known", "", "", ""}
		if s.Samples > 0 {
			row = []string{s.Step, human.Duration(s.Span.P50), human.Duration(s.Span.P95), fmt.Sprint(s.Samples), ""}
		}

		if slices.Contains(p.Forecast.Path, s.Step) {
			row[4] = "decides"
		}
		rows = append(rows, row)
	}

	if err := progress.Table(f.Out, []string{"STEP", "P50", "P95", "FROM", ""}, rows); err != nil {
		return err
	}

	fmt.Fprintln(f.Out)
	foreseen(f.Out, p)

	return nil
}

func (f Faces) history() *cobra.Command {
	var group, mode string
	c := &cobra.Command{
		Use: "history", Short: "List the plans that a group had: what ran, what came of it, what was edited", Args: cobra.NoArgs,
		Long: `Lists the plans of a group by their hash, the last used first: who ran or drilled them, what
came of it, what each edit has changed, and until when each is verified. It needs no
engine, only a vault.

A plan is verified when the newest run or drill of its very hash has ended well, no longer
ago than recovery.GROUP.verified_for. An edit makes another plan, which is unverified.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.past(cmd.Context(), group, plan.Mode(mode))
		},
	}
	c.Flags().StringVarP(&group, "group", "g", "", "group (default: the only one)")
	c.Flags().StringVar(&mode, "mode", "", "switchover, failover or failback (default: all)")

	return c
}

func (f Faces) past(ctx context.Context, group string, mode plan.Mode) error {
	if mode != "" && !slices.Contains([]plan.Mode{plan.ModeSwitchover, plan.ModeFailover, plan.ModeFailback}, mode) {
		return fail.Newf(fail.Invalid, "flags", "--mode", "%q is none of switchover, failover and failback", string(mode))
	}

	cfg, err := f.Load()
	if err != nil {
		return err
	}

	if names := cfg.GroupNames(); group == "" && len(names) == 1 {
		group = names[0]
	}

	if cfg.Groups[group] == nil {
		return fail.Newf(fail.Invalid, "flags", "--group", "there is no group %q: name one of %s", group, strings.Join(cfg.GroupNames(), ", "))
	}

	set, err := f.vaults(cfg)(ctx, group)
	if err != nil {
		return err
	}

	all, unread := history.Plans(ctx, set, group, mode, VerifiedFor(cfg, group), time.Now())
	if err := f.print(all, func() error { return f.planned(group, all) }); err != nil {
		return err
	}

	if unread != nil { // what is there is told, and that it is not all
		return fail.New(fail.CodeOf(unread), "plan history", group, "check the vaults: drctl backup verify", unread)
	}

	return nil
}

func (f Faces) planned(group string, all []history.Plan) error {
	if len(all) == 0 {
		_, err := fmt.Fprintf(f.Out, "no plan of %s has run, as far as the vaults that answer know\n", group)
		return err
	}

	for i, p := range all {
		if i > 0 {
			fmt.Fprintln(f.Out)
		}

		fmt.Fprintf(f.Out, "plan %s: %s from %s to %s\n%s\nused from %s to %s by %s\n", p.Hash, p.Mode, p.From, p.To, p.Verification,
			p.First.UTC().Format(time.RFC3339), p.Last.UTC().Format(time.RFC3339), strings.Join(p.By, ", "))

		if err := f.entries(p); err != nil {
			return err
		}
	}

	return nil
}

// entries are the runs and drills of a plan, and what changed before them.
func (f Faces) entries(p history.Plan) error {
	rows := make([][]string, 0, len(p.Entries))
	for _, e := range p.Entries {
		kind, took := "run", ""
		if e.Drill {
			kind = "drill"
		}

		if !e.Finished.IsZero() {
			took = human.Duration(e.Took)
		}
		rows = append(rows, []string{kind, e.ID, e.Started.UTC().Format(time.RFC3339), took, e.By, e.Verdict, e.Why})
	}

	if err := progress.Table(f.Out, []string{"", "ID", "BEGAN", "TOOK", "BY", "VERDICT", ""}, rows); err != nil {
		return err
	}

	switch {
	case p.Unknown != "":
		fmt.Fprintf(f.Out, "what is different from plan %.12s is not known: %s\n", p.Before, p.Unknown)
	case p.Before != "":
		fmt.Fprintf(f.Out, "different from plan %.12s before it:\n", p.Before)
		return differences(f.Out, p.Changes)
	}

	return nil
}

// Today says how the groups of the configuration would fail over today.
func (Faces) Today(cfg *config.Config) func(group, from string) readiness.Failover {
	return func(group, from string) readiness.Failover {
		d, wanted, err := today(cfg, group, from)
		return readiness.Failover{Plan: d, Wanted: wanted, VerifiedFor: VerifiedFor(cfg, group), Err: err}
	}
}

// today is the plan by which a group would fail over from a region, "" is its home. wanted says that
// somebody has decided how the group comes back in another region: who approves, or that it goes
// by itself.
func today(cfg *config.Config, group, from string) (d plan.Definition, wanted bool, err error) {
	s := Wanted{Group: group, Mode: string(plan.ModeFailover)}
	if g := cfg.Groups[group]; g != nil && from != "" && from != g.Home {
		s.From, s.To = from, g.Home
	}

	r := cfg.Recovery[group]
	byItself := r != nil && r.Decision == recovery.Automatic

	d, _, err = s.Plan(cfg, func(p *failover.Policy) {
		if byItself { // nobody approves it
			p.People = 0
		}
	})

	return d, byItself || r != nil && len(r.Approvers) > 0, err
}
