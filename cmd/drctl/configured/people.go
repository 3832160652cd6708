package configured

import (
	"maps"
	"slices"

	"drctl/internal/approval"
)

// Approvers are the people of a group whose signatures count; none where the configuration
// names none.
func (p *Platform) Approvers(group string) (out []approval.Person) {
	r := p.Config.Recovery[group]
	if r == nil {
		return nil
	}

	for _, name := range slices.Sorted(maps.Keys(r.Approvers)) {
		out = append(out, approval.Person{Name: name, Keys: r.Approvers[name].Keys})
	}

	return out
}
