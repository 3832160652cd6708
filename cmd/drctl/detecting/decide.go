package detecting

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/client"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/regional"
	"drctl/cmd/drctl/serve"
	"drctl/config"
	"drctl/config/recovery"
	"drctl/internal/detection"
	"drctl/internal/detection/board"
	"drctl/internal/detection/lookout"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/retry"
	"drctl/internal/vault"
	"drctl/restore/runs"
	"drctl/targets"
	"drctl/workflows"
	"drctl/workflows/starting"

	run "drctl/workflows/recovery"
)

// runLimit is when a run that nobody ends is ended: as of one that a person has begun.
const runLimit = 30 * 24 * time.Hour

// decideLimit bounds how long the facts of a decision may take: they have to be of now.
const decideLimit = 5 * time.Second

// Serve looks from a region's worker, and begins a failover of a group to that region by
// itself where the policy says so.
func Serve(ctx context.Context, p *configured.Platform, c client.Client, ids workflows.IDs, region string, log *slog.Logger) {
	d := &decider{p: p, engine: c, ids: ids, here: region, log: log}

	Watch(ctx, p, region, d.judged, log)
}

// decider is the part of one worker.
type decider struct {
	p      *configured.Platform
	engine client.Client
	ids    workflows.IDs
	here   string
	log    *slog.Logger
}

// judged is told of each look at a group.
func (d *decider) judged(group string) func(context.Context, lookout.Seen) {
	rec := d.p.Config.Recovery[group]
	if rec == nil || rec.Decision != recovery.Automatic {
		return nil
	}

	for _, r := range d.p.Config.RegionNames() {
		if successor(d.p.Config, group, r) == "" {
			d.log.Error("no failover of the group can begin by itself when the region is lost: no other region has an instance of all shards that move", "group", group, "region", r)
		}
	}

	var busy sync.Mutex // and of what follows
	var said saying
	var last tried

	return func(ctx context.Context, s lookout.Seen) {
		if s.Verdict.State != detection.Lost || successor(d.p.Config, group, s.Verdict.Region) != d.here || !busy.TryLock() {
			return
		}

		go func() {
			defer busy.Unlock()

			c, stop := context.WithTimeout(ctx, decideLimit)
			defer stop()

			why := d.decide(c, group, s, &last)
			if text, ok := said.anew(s.Verdict, why); ok && ctx.Err() == nil {
				d.log.ErrorContext(ctx, "the region is lost, and no failover begins by itself", "group", group, "region", s.Verdict.Region, "reason", text)
			}
		}()
	}
}

// saying is what was said of a loss.
type saying struct {
	since time.Time
	text  string
}

// anew is why nothing begins, in words; ok is false where that was said of this loss before.
func (s *saying) anew(v detection.Verdict, why []string) (text string, ok bool) {
	text = strings.Join(why, "; ")
	if text == "" || text == s.text && v.Since.Equal(s.since) {
		return text, false
	}
	s.since, s.text = v.Since, text

	return text, true
}

// tried is the failover that this process has let the voters know of.
type tried struct {
	epoch uint64
	in    run.In
	begun bool // the engine has taken it
}

// run is its name while it may be tried again; "" is none of the epoch.
func (t tried) run(epoch uint64) string {
	if t.epoch != epoch || t.begun {
		return ""
	}

	return t.in.Run
}

// successor is the region that takes over: the first other one that has an instance of all
// shards that move.
func successor(cfg *config.Config, group, lost string) string {
	for _, r := range cfg.RegionNames() {
		has := func(id targets.ShardID) bool { return slices.Contains(cfg.ShardRegions(id), r) }
		if r != lost && !slices.ContainsFunc(moving(cfg, group), func(id targets.ShardID) bool { return !has(id) }) {
			return r
		}
	}

	return ""
}

// moving are the shards with a primary that a failover moves.
func moving(cfg *config.Config, group string) (out []targets.ShardID) {
	for _, id := range cfg.Shards(group) {
		stays := cfg.Recovery[group] != nil && slices.Contains(cfg.Recovery[group].Stay, id.Target)
		if cfg.Kind(id).Traits().Log && !stays {
			out = append(out, id)
		}
	}

	return out
}

// decide begins a failover, or says why not.
func (d *decider) decide(ctx context.Context, group string, s lookout.Seen, last *tried) []string {
	decided := time.Now()

	f, number, err := d.facts(ctx, group, s, *last)
	if err != nil {
		return []string{fail.Cause(err)}
	}

	if why := detection.Decide(f); len(why) > 0 {
		return why
	}

	if err := d.begin(ctx, group, number, s.Verdict, decided, last); err != nil {
		return []string{"it could not be begun: " + err.Error()}
	}

	return nil
}

// facts reads all that a decision rests on, at once.
func (d *decider) facts(ctx context.Context, group string, s lookout.Seen, last tried) (f detection.Facts, number uint64, err error) {
	cfg, rec := d.p.Config, d.p.Config.Recovery[group]
	f = detection.Facts{Verdict: s.Verdict, Automatic: rec.Decision == recovery.Automatic, Block: cfg.Detection.Block, Witness: d.p.Witnessed(), Hook: len(rec.Fence) > 0}

	b, err := d.p.Board(ctx, group)
	if err != nil {
		return f, 0, err
	}

	l, err := d.p.Epochs(ctx, group)
	if err != nil {
		return f, 0, err
	}

	st, err := l.Read(ctx)
	if err != nil {
		return f, 0, err
	}
	number = st.Present.Epoch
	f.Holder, f.Contested = st.Present.Holder, st.Ahead.Epoch > 0

	for _, id := range moving(cfg, group) {
		f.Needed = append(f.Needed, id.String()+"@"+s.Verdict.Region)
	}

	for _, g := range st.Guards {
		if g.Holder == s.Verdict.Region && g.Epoch == number {
			f.Covered = append(f.Covered, g.Instances...)
		}
	}

	var all sync.WaitGroup
	var rerr, uerr error
	var newest string

	all.Go(func() {
		o, err := b.Standing(ctx)
		f.Orders = err == nil
		f.Off, f.Acknowledged = inForce(o)
	})
	all.Go(func() { newest, f.Open, f.Moved, rerr = d.runs(ctx, group) })
	all.Go(func() { f.Used, uerr = b.Used(ctx, number, last.run(number)) })
	all.Wait()

	f.Runs, f.Now = rerr == nil, time.Now()
	f.Used = f.Used || newest != "" && newest == last.run(number) // the engine had taken it

	return f, number, uerr
}

// inForce are the orders that let nothing begin, in words.
func inForce(o board.Standing) (off, acknowledged string) {
	if a := o.Acknowledged; a != nil && a.Until.After(time.Now()) {
		acknowledged = a.Words()
	}

	return o.Off.Words(), acknowledged
}

// ofRun is how the name of a run begins.
const ofRun = "20060102T150405"

// runs are the newest recovery of a group, what of the group has not ended, and when the newest began.
func (d *decider) runs(ctx context.Context, group string) (newest, open string, moved time.Time, err error) {
	v, err := d.p.Vault(ctx, d.here)
	if err != nil {
		return "", "", moved, err
	}

	ps, err := runs.Promotions(ctx, v, group)
	if err != nil {
		return "", "", moved, err
	}

	if n := len(ps); n > 0 {
		last := ps[n-1]
		newest = last.Run

		if moved = last.At; moved.IsZero() && len(last.Run) > len(ofRun) { // of an older version
			moved, _ = time.Parse(ofRun, last.Run[:len(ofRun)])
		}

		_, ended, err := runs.Ended(ctx, vault.Set{Vaults: []*vault.Vault{v}}, group, last.Run)
		if err != nil {
			return newest, "", moved, err
		}

		if !ended {
			open = last.Run
		}
	}

	// One whose worker has not begun yet is in no vault.
	waits, err := running(ctx, d.engine, d.ids.Recover(group))

	return newest, cmp.Or(waits, open), moved, err
}

// running is the workflow if it runs. What the engine does not say is an error: nothing begins on
// the assumption that nothing runs.
func running(ctx context.Context, c client.Client, id string) (string, error) {
	s, err := engine.StateOf(ctx, c, id)

	switch {
	case fail.Is(err, fail.NotFound):
		return "", nil
	case err != nil || !s.Running:
		return "", err
	}

	return id, nil
}

// begin starts the failover, once it is recorded why. One that was recorded and that the engine did not
// take is tried again as it was: the record lets nobody else begin in this epoch.
func (d *decider) begin(ctx context.Context, group string, number uint64, v detection.Verdict, decided time.Time, last *tried) error {
	why := run.Cause{Verdict: v, Lost: v.Since, Decided: decided.UTC()}

	if last.run(number) == "" {
		in, err := regional.ByItself(ctx, d.p, group, v.Region, d.here, "detection at "+d.here+", "+serve.Hostname(), why)
		if err != nil {
			return err
		}
		*last = tried{epoch: number, in: in}
	}

	in := last.in
	in.Cause = &why

	b, err := d.p.Board(ctx, group)
	if err != nil {
		return err
	}

	if err := b.Begin(ctx, board.Begun{Epoch: number, From: v.Region, To: d.here, By: in.By, At: decided.UTC(), Run: in.Run, Verdict: v}); err != nil {
		return err
	}

	// Somebody may have switched it off meanwhile.
	o, err := b.Standing(ctx)
	if err != nil {
		return err
	}

	if off, ack := inForce(o); off != "" || ack != "" {
		return fail.Newf(fail.Denied, op, group, "somebody has just ordered otherwise: %s", cmp.Or(off, ack))
	}

	d.log.ErrorContext(ctx, "the region is lost: a failover begins by itself", "group", group, "region", v.Region, "to", d.here, "run", in.Run, "reasons", v.Reasons)

	tries := (retry.Policy{First: 200 * time.Millisecond, Max: time.Second}).Start()
	for {
		_, err := starting.Run(ctx, d.engine, d.ids.Recover(group), run.Name, in.Queues[d.here], runLimit, false, in)
		if err == nil || !fail.Retryable(err) {
			last.begun = err == nil
			return err
		}

		d.log.WarnContext(ctx, "the engine does not begin the failover; trying again", "group", group, logs.Err, err)

		if werr := tries.Wait(ctx); werr != nil {
			return errors.Join(err, werr)
		}
	}
}
