package serve

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"drctl/config/workers"
	"drctl/internal/platform"
)

// A queue is served for workflows (w), for activities (a) or both, with its slots.
func TestQueuesOfTheRoles(t *testing.T) {
	for roles, want := range map[string][]string{
		"": {"q wa 5", "q/archive a 900", "q@h/archive a 5", "q@h a 5", "q/sandbox a 5", "q@h/sandbox a 5"},
		// Workflows go on where nobody is left that does the rest.
		"archive":      {"q w 5", "q/archive a 900", "q@h/archive a 5"},
		"base":         {"q wa 5", "q@h a 5"},
		"archive,base": {"q wa 5", "q/archive a 900", "q@h/archive a 5", "q@h a 5"},
		"sandbox":      {"q w 5", "q/sandbox a 5", "q@h/sandbox a 5"},
		// A guard is no queue's worker.
		"guard": nil,
	} {
		var names []string
		if roles != "" {
			names = strings.Split(roles, ",")
		}

		rs, err := Roles(names)
		if err != nil {
			t.Fatal(err)
		}

		var got []string
		for _, p := range polls(Options{Queues: []string{"q"}, Host: "h", Roles: rs, Slots: workers.Slots{Archivers: 900, Tasks: 5}}) {
			kinds := ""
			if p.workflows {
				kinds += "w"
			}

			if p.activities {
				kinds += "a"
			}
			got = append(got, fmt.Sprintf("%s %s %d", p.queue, kinds, p.slots))
		}

		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", roles, got, want)
		}
	}

	if _, err := Roles([]string{"archiver"}); err == nil {
		t.Error("a role that there is not is taken")
	}

	if (Options{}).has(platform.Guard) {
		t.Error("a worker guards that was not asked to")
	}
}
