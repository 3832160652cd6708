package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/internal/platform"
)

// CheckAllIn asks for vaults to be verified.
type CheckAllIn struct {
	Group platform.Group `json:"group"`
	// Regions limits the check; empty means every vault of the policy.
	Regions  []string `json:"regions,omitempty"`
	ReadData string   `json:"read_data"`
	// Remove makes a retention remove this one base instead of following the policy.
	Remove *activities.Removal `json:"remove,omitempty"`
}

// Check verifies the vaults of a group, each on its own region's worker, all
// at once. One that cannot be checked does not stop the others, but fails the
// whole in the end.
func Check(ctx workflow.Context, in CheckAllIn) ([]activities.CheckOut, error) {
	regions := in.Regions
	if len(regions) == 0 {
		regions = in.Group.Policy.Vaults
	}

	futures := make([]workflow.Future, len(regions))
	for i, r := range regions {
		futures[i] = workflow.ExecuteActivity(longRunning(ctx, in.Group.Queue(r), 24*time.Hour, 3), activities.CheckVaultName,
			activities.CheckIn{Region: r, Group: in.Group.Name, ReadData: in.ReadData})
	}
	out := make([]activities.CheckOut, len(regions))

	var first error
	for i, f := range futures {
		if err := f.Get(ctx, &out[i]); err != nil && first == nil {
			first = err
		}
	}

	return out, first
}

// Retain applies the group's retention to every vault of its policy, one after
// the other. One that cannot be reached does not stop the others.
func Retain(ctx workflow.Context, in CheckAllIn) ([]activities.RetainOut, error) {
	out := make([]activities.RetainOut, len(in.Group.Policy.Vaults))

	var first error
	for i, r := range in.Group.Policy.Vaults {
		err := workflow.ExecuteActivity(longRunning(ctx, in.Group.Queue(r), 24*time.Hour, 3), activities.RetainName,
			activities.CheckIn{Region: r, Group: in.Group.Name, Remove: in.Remove}).Get(ctx, &out[i])
		if ctx.Err() != nil {
			return out, ctx.Err()
		}

		if err != nil && first == nil {
			first = err
		}
	}

	return out, first
}
