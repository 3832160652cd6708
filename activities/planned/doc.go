// Package planned has what the activities of a recovery plan stand on: the plan, which a
// vault keeps, the journal of its section, and the beat of an activity whose limit is its
// own.
package planned
