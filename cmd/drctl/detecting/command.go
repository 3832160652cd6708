package detecting

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/serve"
	"drctl/config"
	"drctl/internal/detection"
	"drctl/internal/detection/board"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/internal/ui"
)

const op = "detection"

// Faces is what the commands need of the program.
type Faces struct {
	Load   func() (*config.Config, error)
	Logger func() (*slog.Logger, error)
	Out    io.Writer
	JSON   *bool
}

// order are the flags of what people order.
type order struct {
	group  string
	reason string
	length time.Duration
}

// Command is drctl detection.
func (f Faces) Command() *cobra.Command {
	c := &cobra.Command{Use: "detection", Short: "See whether regions are there, and who says so; switch failovers that begin by themselves off and on"}
	var group, at string
	show := &cobra.Command{Use: "show", Short: "Show what every vantage point sees of the region that may write, and since when", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.show(cmd.Context(), group) }}
	show.Flags().StringVarP(&group, "group", "g", "", "group (default: all)")

	watch := &cobra.Command{Use: "watch", Short: "Be a vantage point, until it is stopped", Args: cobra.NoArgs,
		Long: `Looks at the primaries of the region that may write, from the place where it runs, and
keeps what it sees in the vaults and the witness, where the workers of the other regions
read it. The workers of the regions look by themselves; run this in a third place, such as
beside the witness. It needs no engine, and begins nothing.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.watch(cmd.Context(), at) }}
	watch.Flags().StringVar(&at, "at", "", "name of the place, as detection.places of the configuration has it")
	_ = watch.MarkFlagRequired("at")

	c.AddCommand(show, watch,
		f.order(board.Off, "Let no failover begin by itself, until it is switched on again"),
		f.order(board.On, "Let failovers begin by themselves again, and end what was acknowledged"),
		f.order(board.Acknowledge, "Take it in hand: nothing begins by itself meanwhile"))

	return c
}

func (f Faces) order(do, short string) *cobra.Command {
	var o order
	c := &cobra.Command{Use: do, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return f.say(cmd.Context(), do, o) }}
	fl := c.Flags()
	fl.StringVarP(&o.group, "group", "g", "", "group (default: all)")
	fl.StringVar(&o.reason, "reason", "", "why: it is recorded with your name")
	_ = c.MarkFlagRequired("reason")

	if do == board.Acknowledge {
		fl.DurationVar(&o.length, "for", time.Hour, "for how long")
	}

	return c
}

// platform is the configured one.
func (f Faces) platform(log *slog.Logger) (*configured.Platform, error) {
	cfg, err := f.Load()
	if err != nil {
		return nil, err
	}

	tools, err := configured.Tools(cfg)
	if err != nil {
		return nil, err
	}

	return configured.New(cfg, tools, log), nil
}

func groups(cfg *config.Config, name string) ([]string, error) {
	if name == "" {
		return cfg.GroupNames(), nil
	}

	if !slices.Contains(cfg.GroupNames(), name) {
		return nil, fail.New(fail.Invalid, "flags", "--group", "name one of: "+strings.Join(cfg.GroupNames(), ", "), errors.New("there is no group "+name))
	}

	return []string{name}, nil
}

func (f Faces) watch(ctx context.Context, at string) error {
	log, err := f.Logger()
	if err != nil {
		return err
	}

	p, err := f.platform(log)
	if err != nil {
		return err
	}

	if !slices.Contains(p.Config.Detection.Places, at) {
		return fail.New(fail.Invalid, "flags", "--at", "add it to detection.places of the configuration everywhere", fmt.Errorf("%q is none of the vantage points [%s]", at, strings.Join(p.Config.Detection.Places, ", ")))
	}

	log.InfoContext(ctx, "detection: looking", "place", at)
	Watch(ctx, p, at, nil, log)

	return nil
}

// say has people's order taken for each group.
func (f Faces) say(ctx context.Context, do string, o order) error {
	p, err := f.platform(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}

	if strings.TrimSpace(o.reason) == "" || do == board.Acknowledge && o.length <= 0 {
		return fail.New(fail.Invalid, "flags", "--reason, --for", "say why, and for how long", errors.New("an order needs a reason"))
	}

	names, err := groups(p.Config, o.group)
	if err != nil {
		return err
	}

	var errs []error
	for _, g := range names {
		b, err := p.Board(ctx, g)
		if err == nil {
			x := board.Order{Do: do, By: serve.Person(), Reason: o.reason, At: time.Now().UTC()}
			if do == board.Acknowledge {
				x.Until = x.At.Add(o.length)
			}

			err = b.Order(ctx, x)
		}
		errs = append(errs, err)
	}

	if err := errors.Join(errs...); err != nil {
		return err
	}

	return f.show(ctx, o.group)
}

func (f Faces) show(ctx context.Context, group string) error {
	p, err := f.platform(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}

	names, err := groups(p.Config, group)
	if err != nil {
		return err
	}
	out := []answer.Detection{}

	for _, g := range names {
		s, err := Look(ctx, p, g)
		if err != nil {
			return err
		}
		out = append(out, s)
	}

	if *f.JSON {
		return ui.PrintJSON(f.Out, out)
	}

	for _, s := range out {
		if err := f.table(s); err != nil {
			return err
		}
	}

	return nil
}

// Look reads what all places see of a group, and what people have ordered.
func Look(ctx context.Context, p *configured.Platform, group string) (answer.Detection, error) {
	s := answer.Detection{Group: group, Configured: p.Config.Detection.Off, Votes: []detection.Vote{}}

	b, err := p.Board(ctx, group)
	if err != nil {
		return s, err
	}

	heard, n, err := b.Hear(ctx, places(p.Config))
	if n == 0 {
		return s, fail.New(fail.Unavailable, op, group, "make a vault or the witness reachable", err)
	}

	for _, h := range heard {
		s.Votes = append(s.Votes, h.Vote)
	}

	slices.SortFunc(s.Votes, func(a, b detection.Vote) int {
		return strings.Compare(a.Place+" "+a.Process, b.Place+" "+b.Process)
	})

	for _, place := range places(p.Config) {
		if !slices.ContainsFunc(s.Votes, func(v detection.Vote) bool { return v.Place == place }) {
			s.Silent = append(s.Silent, place)
		}
	}

	st, err := b.Standing(ctx)
	if err != nil {
		s.Unread = fail.Cause(err)
	}
	s.Off, s.Acknowledged = st.Off, st.Acknowledged

	if a := s.Acknowledged; a != nil && !a.Until.After(time.Now()) {
		s.Acknowledged = nil
	}

	return s, nil
}

// Late is after how long a place has said nothing for people to be told so: one that is well
// speaks once a minute.
const Late = 3 * time.Minute

func (f Faces) table(s answer.Detection) error {
	var rows [][]string
	now := time.Now()

	for _, v := range s.Votes {
		seen := now.Sub(v.Wall).Round(time.Second)
		state := string(v.State)

		if seen > Late {
			state = "silent"
		}
		rows = append(rows, []string{v.Place, v.Region, state, ago(now, v.Since), human.Duration(max(0, seen)) + " ago", saw(v)})
	}

	for _, p := range s.Silent {
		rows = append(rows, []string{p, "", "silent", "", "never", "nobody has looked from there"})
	}

	fmt.Fprintf(f.Out, "%s\n", s.Group)

	if err := progress.Table(f.Out, []string{"FROM", "REGION", "IS", "FOR", "SAID", ""}, rows); err != nil {
		return err
	}

	switch {
	case s.Configured:
		fmt.Fprintln(f.Out, "switched off in the configuration: nobody looks")
	case s.Unread != "":
		fmt.Fprintf(f.Out, "nothing begins by itself: what people have ordered cannot be read: %s\n", s.Unread)
	}

	if s.Off != nil {
		fmt.Fprintf(f.Out, "switched off %s\n", s.Off.Words())
	}

	if s.Acknowledged != nil {
		fmt.Fprintf(f.Out, "acknowledged %s\n", s.Acknowledged.Words())
	}

	return nil
}

func ago(now, at time.Time) string {
	if at.IsZero() {
		return ""
	}

	return human.Duration(max(0, now.Sub(at).Round(time.Second)))
}

// saw says why a place holds what it does.
func saw(v detection.Vote) string {
	if len(v.Reasons) > 0 {
		return strings.Join(v.Reasons, "; ")
	}

	n := 0
	for _, s := range v.Sightings {
		if s.Kind == detection.Probe && s.Saw == detection.Alive {
			n++
		}
	}

	return fmt.Sprintf("%s answering", human.Plural(n, "server"))
}
