package plans

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/internal/report/dag"
	"drctl/restore/plan"
)

// row is one line of a plan: steps that do the same to the shards of one target.
type row struct {
	name  string
	steps []plan.StepDef
	needs []string // names of rows
}

// rows folds the steps of a plan that differ in nothing but their shard.
func rows(d plan.Definition) (out []*row) {
	of := map[string]*row{} // by step

	for _, s := range d.Steps {
		same := func(r *row) bool {
			o := r.steps[0]

			return s.On.Target != "" && o.On.Target == s.On.Target && o.Do == s.Do && o.Section == s.Section && o.IfFails == s.IfFails &&
				strings.TrimSuffix(o.ID, o.On.String()) == strings.TrimSuffix(s.ID, s.On.String())
		}

		i := slices.IndexFunc(out, same)
		if i < 0 {
			out = append(out, &row{name: s.ID})
			i = len(out) - 1
		}
		out[i].steps = append(out[i].steps, s)
		of[s.ID] = out[i]
	}

	for _, r := range out {
		if len(r.steps) > 1 {
			r.name = strings.TrimSuffix(r.steps[0].ID, r.steps[0].On.Shard) + "*"
		}
	}

	for _, r := range out {
		for _, s := range r.steps {
			for _, n := range s.Needs {
				for _, o := range d.Steps {
					if plan.Means(n, o.ID) && of[o.ID] != r && !slices.Contains(r.needs, of[o.ID].name) {
						r.needs = append(r.needs, of[o.ID].name)
					}
				}
			}
		}
	}

	return out
}

// does says what a step does.
func does(s plan.StepDef) string {
	w := s.With

	switch {
	case w.Precheck != nil:
		return "precheck: " + w.Precheck.Check
	case s.Do == plan.OpClaim:
		return "claim the group's next epoch"
	case w.Approve != nil:
		return fmt.Sprintf("%d people approve", max(1, w.Approve.People))
	case w.Fence != nil:
		return "fence: " + strings.Join(w.Fence.By, ", else ")
	case w.Reroute != nil:
		return w.Reroute.Move + " route " + w.Reroute.Route
	case w.Rejoin != nil:
		return "rejoin: " + strings.Join(w.Rejoin.By, ", else ")
	case w.Resolve != nil:
		return "resolve: " + w.Resolve.Rule
	case w.Exec != nil:
		return "exec: " + w.Exec.Command[0]
	case w.Manual != nil:
		return "people: " + w.Manual.Text
	}

	return string(s.Do)
}

func fails(c plan.Consequence) string {
	switch c {
	case plan.Abort:
		return "undo all, or ask"
	case plan.AskPeople:
		return "ask"
	case plan.GoOn:
		return "go on"
	}

	return "stop what needs it"
}

// table is the plan in rows of text.
func table(d plan.Definition) (head []string, out [][]string) {
	section := ""

	for _, r := range rows(d) {
		s, name := r.steps[0], r.name
		if s.Section != section && s.Section != "" {
			out = append(out, []string{"[" + s.Section + "]", "one activity, one lease", "", "", "", ""})
		}

		if section = s.Section; section != "" {
			name = "  " + name
		}

		var marks []string
		if s.Undo != nil {
			marks = append(marks, "can be undone")
		}

		if s.NoReturn {
			marks = append(marks, "POINT OF NO RETURN")
		}
		limit := "-"

		if s.Limit > 0 {
			limit = strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(s.Limit.Truncate(time.Millisecond).String())
		}
		out = append(out, []string{name, does(s), s.Region, limit, fails(s.IfFails), strings.Join(marks, ", ")})
	}

	return []string{"STEP", "DOES", "IN", "LIMIT", "IF IT FAILS", ""}, out
}

// boxes is the plan for a picture.
func boxes(d plan.Definition) (out []dag.Node) {
	for _, r := range rows(d) {
		s := r.steps[0]
		out = append(out, dag.Node{ID: r.name, Label: r.name, Note: does(s), Needs: r.needs, Group: s.Section, Heavy: s.NoReturn})
	}

	return out
}
