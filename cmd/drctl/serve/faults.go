package serve

import (
	"context"
	"log/slog"
	"time"

	"go.temporal.io/sdk/client"

	"drctl/activities/gamedays"
	"drctl/internal/planting"
	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/restore/runs"
	"drctl/targets/postgres/postmaster"
)

// Faults keeps what game days have planted on this host, below a state directory.
func Faults(p platform.Resolver, state string, log *slog.Logger) *planting.Keeper {
	vaults := func(ctx context.Context, group string) (vault.Set, error) {
		g, err := p.Group(group)
		if err != nil {
			return vault.Set{}, err
		}

		return p.Set(ctx, group, g.Home)
	}

	return &planting.Keeper{Dir: gamedays.FaultsIn(state), Program: gamedays.Program, Runnable: gamedays.Runnable, Log: log,
		Alone: func(ctx context.Context, f planting.Fault) error {
			set, err := vaults(ctx, f.Group)
			if err != nil {
				return err
			}

			return planting.Alone(ctx, set, f)
		},
		Tell: func(ctx context.Context, f planting.Fault) error {
			set, err := vaults(ctx, f.Group)
			if err != nil {
				return err
			}

			return planting.Tell(ctx, set, f)
		},
		MayStart: func(ctx context.Context, f planting.Fault) error {
			set, err := vaults(ctx, f.Group)
			if err != nil {
				return err
			}

			return runs.MovedSince(ctx, set, f.Group, f.Intended)
		},
		Start: func(ctx context.Context, f planting.Fault) error {
			if len(f.Start) > 0 {
				_, err := gamedays.Program(ctx, f.ID, f.Start)
				return err
			}

			if err := postmaster.Gone(ctx, f.Dir); err != nil {
				return err
			}
			_, err := postmaster.Start(ctx, f.Dir)

			return err
		}}
}

// faultsEvery is how often a worker looks for faults that have to be taken away.
const faultsEvery = time.Second

// sweepFaults takes away what game days have left on this host: at once, and then time and again.
func sweepFaults(ctx context.Context, c client.Client, k *planting.Keeper, log *slog.Logger) {
	for said := ""; ctx.Err() == nil; {
		_, err := k.Sweep(ctx, endedDrill(ctx, c))
		if err == nil {
			said = ""
		} else if text := err.Error(); text != said && ctx.Err() == nil {
			said = text

			log.ErrorContext(ctx, "what a game day has planted could not be taken away; trying again", "err", err)
		}

		select {
		case <-ctx.Done():
		case <-time.After(faultsEvery):
		}
	}
}

// endedDrill asks the engine whether the drill of a fault has ended, and says so. One that this engine does not know may be
// another's: its time limit ends the fault.
func endedDrill(ctx context.Context, c client.Client) func(planting.Fault) string {
	return func(f planting.Fault) string {
		d, err := c.DescribeWorkflowExecution(ctx, f.Workflow, f.RunID)
		if err == nil && d.GetWorkflowExecutionInfo().GetCloseTime() != nil {
			return planting.Ended
		}

		return ""
	}
}
