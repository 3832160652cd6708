package standing

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/workflows"
)

// nominal is the time that the engine appends to the ids of a schedule's runs.
var nominal = regexp.MustCompile(`-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`)

// EndStranded ends the runs that wait for a worker on a queue that nobody
// serves, when the configuration has their work done on another queue now: a
// schedule skips its starts as long as its last run is there, and an id is
// taken as long as a run has it. One on the queue where it belongs goes on when
// the worker comes back. Queues are those that ids belong to.
func EndStranded(ctx context.Context, c client.Client, ids workflows.IDs, queues map[string]string) ([]engine.Change, error) {
	runs, err := engine.Running(ctx, c, ids.Prefix())
	if err != nil {
		return nil, err
	}
	served := map[string]bool{}
	var changes []engine.Change

	var ended []string
	for _, r := range runs {
		switch ids.Kind(r.ID) {
		case "scheduled", "cut", "backup", "check", "drill":
		default: // archivers are judged by themselves, the rest is a person's
			continue
		}

		if queues[nominal.ReplaceAllString(r.ID, "")] == r.Queue {
			continue
		}

		if _, asked := served[r.Queue]; !asked {
			served[r.Queue] = engine.HasWorker(ctx, c, r.Queue)
		}

		if served[r.Queue] {
			changes = append(changes, engine.Change{ID: r.ID, Action: "left",
				Note: fmt.Sprintf("runs on %s, which was served within the last minute; apply again if its workers are gone", r.Queue)})

			continue
		}
		ended = append(ended, r.ID)
		changes = append(changes, engine.Change{ID: r.ID, Action: "ended", Note: fmt.Sprintf("nobody serves %s", r.Queue)})
	}

	return changes, endAll(ctx, c, ended, "nobody serves its queue, and the configuration has this done elsewhere")
}

// TakeOver ends what a drctl that did not tell platforms apart runs under the
// ids that this platform had with it, so that nothing is done twice: two
// archivers would fight for one slot. In a namespace that may be shared such a
// thing may be another platform's, so it is a conflict unless it is ordered. Old are the
// ids without the platform's name.
func TakeOver(ctx context.Context, c client.Client, ids workflows.IDs, old map[string]bool, namespace string, ordered bool) ([]engine.Change, error) {
	schedules, err := engine.OldSchedules(ctx, c)
	if err != nil {
		return nil, err
	}
	schedules = slices.DeleteFunc(schedules, func(id string) bool { return !old[id] })

	running, err := engine.Running(ctx, c, "")
	if err != nil {
		return nil, err
	}

	var runs []string
	for _, r := range running {
		if old[nominal.ReplaceAllString(r.ID, "")] {
			runs = append(runs, r.ID)
		}
	}

	if len(schedules)+len(runs) == 0 {
		return nil, nil
	}

	if !ordered {
		return nil, fail.New(fail.Conflict, "apply", "namespace "+namespace,
			"if they are this platform's, repeat with: drctl apply --take-over; if they are another's, upgrade that one first, or give this one a namespace of its own (engine.namespace)",
			fmt.Errorf("schedules and runs of an older drctl are there, which did not record whose they are: %s", some(append(schedules, runs...))))
	}

	var changes []engine.Change
	for _, id := range schedules { // first, so that they start nothing any more
		was, err := engine.DeleteSchedule(ctx, c, id)
		if err != nil {
			return changes, err
		}

		if was {
			changes = append(changes, engine.Change{ID: id, Action: "deleted", Note: "it is " + ids.Prefix() + id + " now"})
		}
	}

	for _, id := range runs {
		changes = append(changes, engine.Change{ID: id, Action: "ended", Note: "ids begin with the platform's name now"})
	}

	return changes, endAll(ctx, c, runs, "ids begin with the platform's name now")
}

// endAtOnce is how many workflows endAll waits for at a time.
const endAtOnce = 16

// endAll ends workflows, some at a time.
func endAll(ctx context.Context, c client.Client, ids []string, why string) error {
	var g errgroup.Group
	g.SetLimit(endAtOnce)

	for _, id := range ids {
		g.Go(func() error { return engine.End(ctx, c, id, why) })
	}

	return g.Wait()
}

// some names the first few of a list.
func some(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}

	return strings.Join(names, ", ")
}
