package serve

import (
	"slices"

	"drctl/internal/platform"
)

// poll is one queue that a process serves.
type poll struct {
	queue                 string
	workflows, activities bool
	slots                 int // of activities; 0: the engine's own
}

func (o Options) has(r platform.Role) bool {
	if len(o.Roles) == 0 {
		return r != platform.Guard
	}

	return slices.Contains(o.Roles, r)
}

// polls are the queues of a process. Whoever has a role of a region's queue takes its
// workflows, so that archiving goes on where no worker is left that does the rest.
// Archivers have a queue of their own: they run for ever, and would take every slot.
func polls(o Options) (out []poll) {
	for _, q := range o.Queues {
		if o.has(platform.Archive) || o.has(platform.Base) || o.has(platform.Sandbox) {
			out = append(out, poll{queue: q, workflows: true, activities: o.has(platform.Base), slots: o.Slots.Tasks})
		}

		for _, r := range []platform.Role{platform.Archive, platform.Base, platform.Sandbox} {
			if !o.has(r) {
				continue
			}

			if r != platform.Base {
				p := poll{queue: platform.Queue(q, "", r), activities: true, slots: o.Slots.Tasks}
				if r == platform.Archive {
					p.slots = o.Slots.Archivers
				}
				out = append(out, p)
			}

			out = append(out, poll{queue: platform.Queue(q, o.Host, r), activities: true, slots: o.Slots.Tasks})
		}
	}

	return out
}
