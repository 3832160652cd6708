package planned

import "drctl/restore/plan"

// RoutesStep is the id of the step that reads the routes before anything is touched.
func RoutesStep(d plan.Definition) string {
	for _, s := range d.Steps {
		if s.Do == plan.OpPrecheck && s.With.Precheck != nil && s.With.Precheck.Check == plan.CheckRoutes {
			return s.ID
		}
	}

	return ""
}

// Node is a step as the machine sees it in a mode.
func Node(d plan.Definition, m plan.Mode, id string) plan.Node {
	for _, n := range d.Outline(m).Steps {
		if n.ID == id {
			return n
		}
	}

	return plan.Node{ID: id}
}
