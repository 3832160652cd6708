package workflows

import (
	"errors"

	"go.temporal.io/sdk/temporal"

	"drctl/internal/engine"
	"drctl/internal/fail"
)

// text words an activity's error as drctl meant it, without the engine's frame.
func text(err error) string { return engine.DecodeError(err).Error() }

// temporalCanceled ends a workflow as cancelled, with a word about it.
func temporalCanceled(detail string) error { return temporal.NewCanceledError(detail) }

// because joins what went wrong with what went wrong while that was being
// recorded, under the code of the first. It keeps a cancellation one.
func because(op, subject, hint string, err, also error) error {
	if also == nil || temporal.IsCanceledError(err) {
		return err
	}
	first := engine.DecodeError(err)
	return engine.EncodeError(fail.New(fail.CodeOf(first), op, subject, hint, errors.Join(first, engine.DecodeError(also))))
}
