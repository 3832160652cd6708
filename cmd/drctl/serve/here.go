package serve

import (
	"errors"
	"fmt"
	"slices"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/restore/plan"
)

// Roles reads the roles that a flag names; none where it names none.
func Roles(names []string) (out []platform.Role, err error) {
	for _, n := range names {
		if !slices.Contains(platform.Roles, platform.Role(n)) {
			return nil, fail.New(fail.Invalid, "flags", "--role", "use archive, base, sandbox, guard", errors.New("there is no role "+n))
		}
		out = append(out, platform.Role(n))
	}

	return out, nil
}

// Here refuses a plan of which the workers of this host alone could only do a part.
func Here(run plan.Run, host string) error {
	for _, s := range run.Steps {
		if platform.Placed(host, s.Into.Host, "") == nil {
			continue
		}

		return fail.New(fail.Conflict, "restore: right host", s.ID, fmt.Sprintf("run it on each host for its shards (--shard); this host is called %s, --host gives it another name", host),
			fmt.Errorf("its destination is on host %s, and an engine of this command's own has no worker there", s.Into.Host))
	}

	return nil
}
