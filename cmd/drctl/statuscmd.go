package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"drctl/activities"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/progress"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/restore"
	"drctl/targets"
	"drctl/targets/all"
	"drctl/workflows"
)

func (a *app) statusCmd() *cobra.Command {
	var group string
	c := &cobra.Command{
		Use: "status", Short: "Every shard: role, lag, newest base, newest sealed cut, RPO against objective", Args: cobra.NoArgs,
		Long: `Asks every instance and every vault, and the engine for what is running. It goes
on when some of them do not answer and says so. Exit status 4 when it lists a
problem: an objective missed, a shard that is not archived or whose base is
overdue, cuts abandoned since the newest sealed one, a vault that falls behind
or whose newest check found damage.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context(), group) },
	}
	c.Flags().StringVarP(&group, "group", "g", "", "group (default: all)")
	return c
}

type instanceStatus struct {
	Shard  targets.ShardID `json:"shard"`
	Region string          `json:"region"`
	Status targets.Status  `json:"status"`
	Error  string          `json:"error,omitempty"`
}

type shardStatus struct {
	Shard     targets.ShardID `json:"shard"`
	Archiving bool            `json:"archiving"`
	Archived  uint64          `json:"archived_offset"`
	// Behind is how many bytes of the primary's log are not durable yet.
	Behind     int64     `json:"behind_bytes"`
	NewestBase time.Time `json:"newest_base,omitzero"`
	Problem    string    `json:"problem,omitempty"`
}

type groupStatus struct {
	Group     string           `json:"group"`
	Engine    string           `json:"engine"`
	Instances []instanceStatus `json:"instances"`
	Shards    []shardStatus    `json:"shards"`
	// NewestCut is the newest cut that any vault offers; RPO is its age.
	NewestCut string   `json:"newest_cut,omitempty"`
	CutVaults []string `json:"cut_in_vaults,omitempty"`
	// RecoverableIn are the vaults whose own newest cut a restore plan can be
	// made for.
	RecoverableIn []string `json:"recoverable_in"`
	// Checks are the newest checks of the vaults.
	Checks       []checkStatus `json:"checks"`
	RPO          time.Duration `json:"rpo_ns"`
	RPOObjective time.Duration `json:"rpo_objective_ns"`
	Running      []string      `json:"running"`
	Problems     []string      `json:"problems"`
}

// checkStatus is the newest check of one vault.
type checkStatus struct {
	Region  string    `json:"region"`
	Started time.Time `json:"started"`
	Checks  int       `json:"checks"`
	Failed  int       `json:"failed"`
}

func (a *app) status(ctx context.Context, only string) error {
	s, err := a.offline()
	if err != nil {
		return err
	}
	engineState := "running"
	ectx, cancel := context.WithTimeout(ctx, 3*time.Second)
	c, err := dial(ectx, s.cfg, s.log)
	cancel()
	if err != nil {
		engineState = "unreachable: " + err.Error()
	} else {
		s.engine = c
		defer s.close()
	}
	drivers := map[targets.Kind]targets.Driver{}
	for _, d := range all.Drivers(all.Options{Tools: s.p.tools, Log: s.log}) {
		drivers[d.Kind()] = d
	}
	var out []groupStatus
	for _, name := range s.cfg.GroupNames() {
		if only != "" && only != name {
			continue
		}
		g, err := s.p.Group(name)
		if err != nil {
			return err
		}
		out = append(out, s.groupStatus(ctx, g, engineState, drivers))
	}
	if len(out) == 0 {
		return fail.New(fail.NotFound, "status", only, "", errNoGroup)
	}
	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		for _, g := range out {
			a.printStatus(g)
		}
	}
	for _, g := range out {
		if len(g.Problems) > 0 {
			return exitCode{4, fmt.Sprintf("%s: %d problems", g.Group, len(g.Problems))}
		}
	}
	return nil
}

func (s *session) groupStatus(ctx context.Context, g activities.Group, engineState string, drivers map[targets.Kind]targets.Driver) groupStatus {
	st := groupStatus{Group: g.Name, Engine: engineState, RPOObjective: g.Policy.RPO, Running: []string{}, Problems: []string{}, RecoverableIn: []string{}, Checks: []checkStatus{}}
	problem := func(format string, args ...any) { st.Problems = append(st.Problems, fmt.Sprintf(format, args...)) }
	if s.engine == nil {
		problem("the engine is %s", engineState)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, sh := range g.Shards {
		for _, region := range s.p.Regions(sh.Shard) {
			wg.Go(func() {
				i := instanceStatus{Shard: sh.Shard, Region: region}
				in, err := s.p.Instance(ctx, sh.Shard, region)
				if err == nil {
					pctx, cancel := context.WithTimeout(ctx, 5*time.Second)
					defer cancel()
					i.Status, err = drivers[sh.Kind].Probe(pctx, in)
				}
				if err != nil {
					i.Error = err.Error()
				}
				mu.Lock()
				defer mu.Unlock()
				st.Instances = append(st.Instances, i)
			})
		}
	}
	wg.Wait()
	slices.SortFunc(st.Instances, func(x, y instanceStatus) int {
		if c := x.Shard.Compare(y.Shard); c != 0 {
			return c
		}
		return strings.Compare(x.Region, y.Region)
	})
	for _, i := range st.Instances {
		if i.Error != "" {
			problem("%s@%s: %s", i.Shard, i.Region, i.Error)
		}
		for _, w := range i.Status.Warnings {
			problem("%s@%s: %s", i.Shard, i.Region, w)
		}
	}
	for _, sh := range g.Shards {
		if text := activities.TwoWriters(st.writers(sh.Shard)); text != "" {
			problem("%s: %s", sh.Shard, text)
		}
	}
	taking := false
	if s.engine != nil {
		if rs, err := engine.Running(ctx, s.engine, s.ids().Prefix()); err == nil {
			for _, r := range rs {
				taking = taking || r.ID == s.ids().Backup(g.Name) && r.Workflow == workflows.TakeBackupName
				if kind := s.ids().Kind(r.ID); kind != "archive" && kind != "scheduled" {
					st.Running = append(st.Running, r.ID)
				}
			}
		}
	}
	for _, sh := range g.Shards {
		if sh.Kind != targets.S3 {
			st.Shards = append(st.Shards, s.shardStatus(ctx, sh, g.Policy.BaseEvery, &st, taking))
		}
	}
	for _, x := range st.Shards {
		if x.Problem != "" {
			problem("%s: %s", x.Shard, x.Problem)
		}
	}
	s.cutStatus(ctx, g, &st)
	s.checkStatus(ctx, g, &st)
	return st
}

// writers lists the instances of a shard that say that they accept writes.
func (st *groupStatus) writers(shard targets.ShardID) (ws []activities.Writer) {
	for _, i := range st.Instances {
		if i.Shard == shard && i.Error == "" && i.Status.Writable {
			ws = append(ws, activities.Writer{Name: i.Shard.String() + "@" + i.Region, Position: i.Status.Position, Parent: i.Status.Parent})
		}
	}
	return ws
}

func (s *session) shardStatus(ctx context.Context, sh activities.GroupShard, baseEvery time.Duration, st *groupStatus, taking bool) shardStatus {
	out := shardStatus{Shard: sh.Shard}
	if s.engine != nil {
		ps, err := engine.Progress(ctx, s.engine, s.ids().Archive(sh.Shard))
		if err != nil || len(ps) == 0 {
			out.Problem = "no archiver runs; start them with: drctl apply"
		}
		for _, p := range ps {
			var b activities.Beat
			// Nothing may be durable yet, while a vault that it needs is away.
			if json.Unmarshal(p.Details, &b) == nil && (b.Offset > 0 || b.Total > 0) {
				out.Archiving, out.Archived = true, b.Offset
				out.Problem = joinProblems(out.Problem, b.Trouble)
			}
			if p.LastFailure != "" && p.State != "started" {
				out.Archiving, out.Problem = false, "archiving failed: "+p.LastFailure
			}
		}
	}
	for _, i := range st.Instances {
		if i.Shard == sh.Shard && i.Status.Writable && out.Archiving {
			out.Behind = max(0, int64(i.Status.Position.Offset)-int64(out.Archived))
		}
	}
	var bases []targets.Artifact
	var held [][]stream.Lineage
	for _, r := range s.cfg.RegionNames() {
		v, err := s.p.Vault(ctx, r)
		if err != nil {
			continue // cutStatus reports it
		}
		bs, _ := v.Bases(ctx, sh.Shard) // damage is the check's to report
		bases = append(bases, bs...)
		ls, _ := stream.Outline(ctx, v, sh.Shard)
		held = append(held, ls)
	}
	for _, b := range bases {
		if b.Finished.After(out.NewestBase) {
			out.NewestBase = b.Finished
		}
	}
	if b, broken := stream.NeedsBase(stream.Union(held), bases); broken {
		out.Problem = joinProblems(out.Problem, b.String()+"; "+baseOnTheWay(taking, out.Archiving))
	}
	if lack := outgrown(st.Instances, sh.Shard, bases); lack != "" {
		out.Problem = joinProblems(out.Problem, lack+"; "+baseOnTheWay(taking, out.Archiving))
	}
	switch age := time.Since(out.NewestBase); {
	case out.Problem != "":
	case out.NewestBase.IsZero():
		out.Problem = "there is no base; take one with: drctl backup now"
	case baseEvery > 0 && age > 2*baseEvery:
		out.Problem = fmt.Sprintf("the newest base is %s old, one is due every %s; see why with: drctl backup now", progress.Duration(age), progress.Duration(baseEvery))
	}
	return out
}

// outgrown says what the newest base lacks of a shard's primary, "" when nothing.
func outgrown(instances []instanceStatus, shard targets.ShardID, bases []targets.Artifact) string {
	for _, i := range instances {
		if i.Shard == shard && i.Status.Writable {
			if lack := targets.Outgrown(bases, i.Status.Tablespaces); lack != "" {
				return lack
			}
		}
	}
	return ""
}

// baseOnTheWay says what becomes of a log that needs a new base.
func baseOnTheWay(taking, archiving bool) string {
	switch {
	case taking:
		return "a new base is being taken"
	case archiving:
		return "the archiver takes a new base within minutes"
	}
	return "take a new base with: drctl backup now"
}

func joinProblems(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "; ")
}

func (s *session) cutStatus(ctx context.Context, g activities.Group, st *groupStatus) {
	var newest targets.Cut
	newestIn := map[string]time.Time{} // by region, of the vaults that answer
	var abandoned []activities.AbandonedCut
	for _, r := range g.Policy.Vaults {
		v, err := s.p.Vault(ctx, r)
		if err != nil {
			st.Problems = append(st.Problems, err.Error())
			continue
		}
		last, damaged, err := activities.NewestCut(ctx, v, g.Name)
		for _, d := range damaged {
			st.Problems = append(st.Problems, d.Error())
		}
		if err != nil && !fail.Is(err, fail.NotFound) {
			st.Problems = append(st.Problems, err.Error())
		}
		xs, err := activities.Abandoned(ctx, v, g.Name, last.ID)
		if err != nil {
			st.Problems = append(st.Problems, err.Error())
		}
		abandoned = append(abandoned, xs...)
		if last, err := activities.LastRetention(ctx, v, g.Name); err == nil && last.Error != "" {
			st.Problems = append(st.Problems, fmt.Sprintf("retention of the vault of %s breaks off, so nothing is removed from it: %s", r, last.Error))
		}
		newestIn[r] = time.Time{}
		if last.ID == "" {
			continue
		}
		newestIn[r] = last.FencedAt
		if last.ID > newest.ID {
			newest, st.CutVaults = last, nil
		}
		if last.ID == newest.ID {
			st.CutVaults = append(st.CutVaults, r)
		}
		// A cut is worth what can be recovered from it: the whole plan is made,
		// base and unbroken stream of every shard, and thrown away.
		goal := restore.Goal{Group: g.Name, Cut: last.ID, Vault: r, Into: restore.Sandbox}
		inv, err := activities.Inventory(ctx, v, goal, &g)
		if err == nil {
			_, err = restore.Build(goal, inv, time.Now().UTC())
		}
		if err != nil {
			st.Problems = append(st.Problems, fmt.Sprintf("the newest cut in the vault of %s cannot be recovered: %v", r, err))
			continue
		}
		st.RecoverableIn = append(st.RecoverableIn, r)
	}
	abandoned = slices.DeleteFunc(abandoned, func(x activities.AbandonedCut) bool { return x.Cut.ID < newest.ID })
	slices.SortFunc(abandoned, func(x, y activities.AbandonedCut) int { return strings.Compare(x.Cut.ID, y.Cut.ID) })
	abandoned = slices.CompactFunc(abandoned, func(x, y activities.AbandonedCut) bool { return x.Cut.ID == y.Cut.ID })
	if n := len(abandoned); n > 0 {
		last := abandoned[n-1]
		st.Problems = append(st.Problems, fmt.Sprintf("%d cuts were abandoned since the newest sealed one, the last at %s: %s; see: drctl cut show %s", n,
			last.AbandonedAt.Local().Format(time.DateTime), last.Reason, last.Cut.ID))
	}
	if newest.ID == "" {
		st.Problems = append(st.Problems, "there is no sealed cut; take one with: drctl cut now")
		return
	}
	st.NewestCut, st.RPO = newest.ID, time.Since(newest.FencedAt)
	for _, p := range newest.Shards {
		for _, w := range p.Warnings {
			st.Problems = append(st.Problems, fmt.Sprintf("%s: the newest cut: %s", p.Shard, w))
		}
	}
	// A cut is sealed when enough vaults hold it: the others may fall behind
	// for a while, but not unseen.
	for _, r := range g.Policy.Vaults {
		at, ok := newestIn[r]
		switch behind := newest.FencedAt.Sub(at); {
		case !ok:
		case at.IsZero():
			st.Problems = append(st.Problems, fmt.Sprintf("the vault of %s holds no cut", r))
		case behind > max(2*g.Policy.CutEvery, g.Policy.RPO, time.Minute):
			st.Problems = append(st.Problems, fmt.Sprintf("the newest cut in the vault of %s is %s older than the newest of all", r, progress.Duration(behind)))
		}
	}
	if g.Policy.RPO > 0 && st.RPO > g.Policy.RPO {
		st.Problems = append(st.Problems, fmt.Sprintf("RPO objective missed: the newest sealed cut is %s old, %s allowed", progress.Duration(st.RPO), progress.Duration(g.Policy.RPO)))
	}
}

// checkStatus looks at the checks of every vault, whose reports are in all of them.
func (s *session) checkStatus(ctx context.Context, g activities.Group, st *groupStatus) {
	problem := func(format string, args ...any) { st.Problems = append(st.Problems, fmt.Sprintf(format, args...)) }
	var vaults []*vault.Vault
	for _, r := range g.Policy.Vaults {
		if v, err := s.p.Vault(ctx, r); err == nil { // else cutStatus reports it
			vaults = append(vaults, v)
		}
	}
	if len(vaults) == 0 {
		return
	}
	every := g.Policy.CheckEvery
	overdue := func(since time.Time) bool { return every > 0 && time.Since(since) > 2*every }
	for _, region := range g.Policy.Vaults {
		checks, err := activities.CheckHistory(ctx, vaults, g.Name, region)
		if err != nil {
			problem("%v", err)
		}
		newest, damaged := checks.Newest, checks.Damaged
		if newest.Started.IsZero() {
			for _, v := range vaults {
				if v.Region() == region && err == nil && overdue(v.Created()) {
					problem("the vault of %s was made at %s and has never been checked, a check is due every %s; see why with: drctl backup verify --vault %s", region,
						v.Created().Local().Format(time.DateTime), progress.Duration(every), region)
				}
			}
			continue
		}
		st.Checks = append(st.Checks, checkStatus{Region: region, Started: newest.Started, Checks: newest.Checks, Failed: newest.Failed})
		if !damaged.Started.IsZero() {
			since := ""
			if damaged.Started.Before(newest.Started) {
				since = ", and none since has read as much and found nothing"
			}
			problem("the check at %s found damage%s: %s; see: drctl backup verify --vault %s", damaged.Started.Local().Format(time.DateTime), since, damaged, region)
		}
		if overdue(newest.Started) {
			problem("the vault of %s was last checked at %s, a check is due every %s", region, newest.Started.Local().Format(time.DateTime), progress.Duration(every))
		}
	}
}

func (a *app) printStatus(g groupStatus) {
	fmt.Fprintf(a.out, "group %s, engine %s\n", g.Group, g.Engine)
	if g.NewestCut != "" {
		fmt.Fprintf(a.out, "newest sealed cut %s in %s: RPO %s, objective %s\n", g.NewestCut, strings.Join(g.CutVaults, " and "), progress.Duration(g.RPO), progress.Duration(g.RPOObjective))
		if len(g.RecoverableIn) > 0 {
			fmt.Fprintf(a.out, "a plan to recover it can be made from the vault of %s\n", strings.Join(g.RecoverableIn, " and of "))
		}
	}
	for _, c := range g.Checks {
		fmt.Fprintf(a.out, "vault of %s checked %s ago: %d checks, %d failed\n", c.Region, progress.Duration(time.Since(c.Started)), c.Checks, c.Failed)
	}
	byShard := map[targets.ShardID]shardStatus{}
	for _, s := range g.Shards {
		byShard[s.Shard] = s
	}
	var rows [][]string
	for _, i := range g.Instances {
		role, behind, base := string(i.Status.Role), "", ""
		if i.Error != "" {
			role = "unreachable"
		}
		lag := ""
		if i.Status.Role == targets.Standby {
			lag = progress.Duration(i.Status.Lag)
		}
		if s, ok := byShard[i.Shard]; ok && i.Status.Writable {
			behind, base = "not archiving", "none"
			if s.Archiving {
				behind = progress.Bytes(s.Behind)
			}
			if !s.NewestBase.IsZero() {
				base = progress.Duration(time.Since(s.NewestBase)) + " ago"
			}
		}
		rows = append(rows, []string{i.Shard.String(), i.Region, role, i.Status.Version, progress.Bytes(i.Status.Bytes), lag, behind, base})
	}
	_ = progress.Table(a.out, []string{"SHARD", "REGION", "ROLE", "VERSION", "SIZE", "LAG", "ARCHIVE BEHIND", "NEWEST BASE"}, rows)
	if len(g.Running) > 0 {
		fmt.Fprintf(a.out, "running: %s\n", strings.Join(g.Running, ", "))
	}
	for _, p := range g.Problems {
		fmt.Fprintln(a.out, "PROBLEM "+p)
	}
}
