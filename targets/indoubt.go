package targets

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"
)

// InDoubtAction is what a recovery does with a prepared transaction.
type InDoubtAction string

// The actions.
const (
	// InDoubtCommit: a part of its global transaction is committed in the cut.
	InDoubtCommit InDoubtAction = "commit"
	// InDoubtRollBack: none is.
	InDoubtRollBack InDoubtAction = "roll-back"
	// InDoubtLeave: nobody can tell, so that its transaction manager has to.
	InDoubtLeave InDoubtAction = "leave"
)

// GID names a prepared transaction: the bytes that the server has, in whatever
// encoding. As text it is itself, or "base64:" and its bytes where it is not
// UTF-8 or begins so, because another transaction would be meant otherwise.
type GID string

const (
	maxGID    = 199 // bytes
	base64GID = "base64:"
)

// MarshalText keeps every byte.
func (g GID) MarshalText() ([]byte, error) {
	if utf8.ValidString(string(g)) && !strings.HasPrefix(string(g), base64GID) {
		return []byte(g), nil
	}

	return []byte(base64GID + base64.StdEncoding.EncodeToString([]byte(g))), nil
}

// UnmarshalText reads what MarshalText wrote.
func (g *GID) UnmarshalText(b []byte) error {
	coded, ok := strings.CutPrefix(string(b), base64GID)
	if !ok {
		*g = GID(b)
		return nil
	}

	raw, err := base64.StdEncoding.DecodeString(coded)
	*g = GID(raw)

	return err
}

// InDoubt is a transaction that is prepared at a point, and what a recovery to
// the point does with it.
type InDoubt struct {
	// GID is its name, or "base64:" and the bytes of it where they are not UTF-8.
	GID GID `json:"gid"`
	// Action is commit, roll-back or leave.
	Action InDoubtAction `json:"action"`
	// Group is the global transaction that it is a part of.
	Group string `json:"group,omitempty"`
	// Reason says why the action is right.
	Reason string `json:"reason,omitempty"`
}

// Check reports what is wrong with it.
func (d InDoubt) Check() error {
	if d.GID == "" || len(d.GID) > maxGID {
		return fmt.Errorf("gid %.80q has %d bytes, not 1 to %d", d.GID, len(d.GID), maxGID)
	}

	switch d.Action {
	case InDoubtCommit, InDoubtRollBack, InDoubtLeave:
	default:
		return fmt.Errorf("action %.80q on the prepared transaction %.80q is not known", string(d.Action), d.GID)
	}

	if len(d.Group) > maxText || len(d.Reason) > maxText {
		return fmt.Errorf("the group or the reason of the prepared transaction %.80q is too long", d.GID)
	}

	return nil
}

// CheckInDoubt reports what is wrong with all that are prepared at one point.
func CheckInDoubt(all []InDoubt) error {
	if err := checkRange("number of prepared transactions", int64(len(all)), maxList); err != nil {
		return err
	}

	seen := make(map[GID]bool, len(all))
	for _, d := range all {
		if err := d.Check(); err != nil {
			return err
		}

		if seen[d.GID] {
			return fmt.Errorf("the prepared transaction %.80q is listed twice", d.GID)
		}
		seen[d.GID] = true
	}

	return nil
}
