package workflows

import (
	"errors"

	"go.temporal.io/sdk/temporal"

	"drctl/internal/engine"
	"drctl/internal/fail"
)

// errorText words an activity's error as drctl meant it, without the engine's frame.
func errorText(err error) string { return engine.DecodeError(err).Error() }

// attempts is how often a failed activity was tried, as far as it could say: a
// worker that died tells it by its last sign of life. 0 is not known.
func attempts(err error) int {
	var out *temporal.TimeoutError
	if errors.As(err, &out) && out.HasLastHeartbeatDetails() {
		var b engine.Beat
		if out.LastHeartbeatDetails(&b) == nil {
			return b.Attempt
		}
	}

	return engine.Attempt(err)
}

// temporalCanceled ends a workflow as cancelled, with a word about it.
func temporalCanceled(detail string) error { return temporal.NewCanceledError(detail) }

// joinErrors joins what went wrong with what went wrong while that was being
// recorded, under the code of the first. It keeps a cancellation one.
func joinErrors(op, subject, hint string, err, also error) error {
	if also == nil || temporal.IsCanceledError(err) {
		return err
	}
	first := engine.DecodeError(err)

	return engine.EncodeError(fail.New(fail.CodeOf(first), op, subject, hint, errors.Join(first, engine.DecodeError(also))))
}
