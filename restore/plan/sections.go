package plan

import (
	"slices"
)

// Outline returns the order of the steps in a mode.
func (d Definition) Outline(m Mode) Outline {
	out := Outline{Steps: make([]Node, 0, len(d.Steps))}

	for _, s := range d.Steps {
		n := Node{ID: s.ID, Op: s.Do, Shard: s.On, Region: s.Region, Host: s.Host, Needs: s.Needs, Limit: s.Limit,
			Behaviour: s.In(m), Retry: s.Retry, IfFails: s.IfFails, Undo: s.Undo != nil, NoReturn: s.NoReturn, Section: s.Section}

		if s.Do == OpApprove {
			n.People = 1
			if s.With.Approve != nil {
				n.People = max(1, s.With.Approve.People)
			}
		}
		n.Vouch = s.Do == OpFence && s.With.Fence.Vouched()
		out.Steps = append(out.Steps, n)
	}

	return out
}

// Folded returns the outline in which one node stands for each section. It needs
// what any step of the section needs outside of it, and whoever needs one of its
// steps needs all of it.
//
// One activity runs the section, by the outline that Within returns.
func (o Outline) Folded() Outline {
	out := o
	out.Steps = nil
	at := map[string]int{} // of a section's node

	for _, n := range o.Steps {
		if n.Section == "" {
			n.Needs, n.After = o.foldedNames(n.Needs, ""), o.foldedNames(n.After, "")
			out.Steps = append(out.Steps, n)

			continue
		}

		i, ok := at[n.Section]
		if !ok {
			i = len(out.Steps)
			at[n.Section] = i
			out.Steps = append(out.Steps, Node{ID: n.Section, Op: OpSection, Section: n.Section, Region: n.Region, Behaviour: n.Behaviour})
		}
		s := &out.Steps[i]
		s.Needs = union(s.Needs, o.foldedNames(n.Needs, n.Section))
		s.After = union(s.After, o.foldedNames(n.After, n.Section))
		s.Undo, s.NoReturn = s.Undo || n.Undo, s.NoReturn || n.NoReturn && n.Behaviour != Skip && n.Behaviour != Rehearse
		s.Limit += n.Limit

		if n.Behaviour != s.Behaviour {
			s.Behaviour = RunIt // its steps differ: each of them has its own
		}

		if n.IfFails == Abort || n.IfFails == AskPeople {
			s.IfFails = Abort
		}
	}

	return out
}

// foldedNames are needs as an outline without the steps of sections has them;
// those inside the section of whoever needs are left out.
func (o Outline) foldedNames(names []string, own string) (out []string) {
	for _, name := range names {
		outside, any := false, false

		for _, n := range o.Steps {
			if !Means(name, n.ID) {
				continue
			}
			any = true

			switch n.Section {
			case "":
				outside = true
			case own:
			default:
				out = union(out, []string{n.Section})
			}
		}

		if outside || !any { // a name that means nothing is for the machine to refuse
			out = union(out, []string{name})
		}
	}

	return out
}

// Within returns the order inside a section: its steps with what they need of
// each other.
func (o Outline) Within(section string) Outline {
	out := Outline{Window: len(o.Steps)}

	for _, n := range o.Steps {
		if n.Section == section {
			out.Steps = append(out.Steps, n)
		}
	}

	inside := func(names []string) (kept []string) {
		for _, name := range names {
			if slices.ContainsFunc(out.Steps, func(n Node) bool { return Means(name, n.ID) }) {
				kept = append(kept, name)
			}
		}

		return kept
	}

	for i := range out.Steps {
		out.Steps[i].Section = ""
		out.Steps[i].Needs, out.Steps[i].After = inside(out.Steps[i].Needs), inside(out.Steps[i].After)
	}

	return out
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}

	return a
}
