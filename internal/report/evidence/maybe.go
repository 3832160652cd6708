package evidence

import (
	"encoding/json"
	"errors"
)

// Maybe is a value that was recorded, or the reason why it was not. Exactly
// one of the two is set; the zero value marshals as not recorded, with the
// reason that nobody gave one.
type Maybe[T any] struct {
	Value       *T
	NotRecorded string
}

// Known wraps a recorded value.
func Known[T any](v T) Maybe[T] { return Maybe[T]{Value: &v} }

// Unknown says why there is no value.
func Unknown[T any](reason string) Maybe[T] { return Maybe[T]{NotRecorded: reason} }

// KnownIf wraps v unless it is the zero value, for which the reason counts.
func KnownIf[T comparable](v T, reason string) Maybe[T] {
	var zero T
	if v == zero {
		return Unknown[T](reason)
	}

	return Known(v)
}

// Get returns the value; ok is false when it was not recorded.
func (m Maybe[T]) Get() (v T, ok bool) {
	if m.Value == nil {
		return v, false
	}

	return *m.Value, true
}

// Reason says why there is no value; "" when there is one.
func (m Maybe[T]) Reason() string {
	switch {
	case m.Value != nil:
		return ""
	case m.NotRecorded == "":
		return "no reason given"
	}

	return m.NotRecorded
}

type maybeJSON[T any] struct {
	Value       *T     `json:"value,omitempty"`
	NotRecorded string `json:"not_recorded,omitempty"`
}

// MarshalJSON writes {"value": ...} or {"not_recorded": "reason"}.
func (m Maybe[T]) MarshalJSON() ([]byte, error) {
	return json.Marshal(maybeJSON[T]{Value: m.Value, NotRecorded: m.Reason()})
}

// UnmarshalJSON reads what MarshalJSON wrote and refuses both or neither.
func (m *Maybe[T]) UnmarshalJSON(b []byte) error {
	var j maybeJSON[T]
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}

	if (j.Value == nil) == (j.NotRecorded == "") {
		return errors.New(`exactly one of "value" and "not_recorded" must be there`)
	}
	*m = Maybe[T](j)

	return nil
}
