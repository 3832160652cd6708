package actions

import (
	"context"

	"drctl/activities/outside"
	"drctl/restore/plan"
)

// program runs a program of the platform's own.
func program(ctx context.Context, step string, x *plan.Exec, env ...string) (Done, error) {
	said, err := outside.Program(ctx, step, x, env...)
	return Done{Said: said}, err
}

// request makes a call of the platform's own.
func request(ctx context.Context, step string, x *plan.HTTP) (Done, error) {
	said, err := outside.Request(ctx, step, x)
	return Done{Said: said}, err
}
