package control

import (
	"encoding/binary"
	"fmt"
)

// Phase is what a server last wrote of its life.
type Phase uint32

// The phases (DBState in src/include/catalog/pg_control.h).
const (
	Starting Phase = iota
	ShutDown       // a primary that was stopped cleanly
	ShutDownInRecovery
	ShuttingDown
	InCrashRecovery
	InArchiveRecovery // a standby
	InProduction      // a primary
)

var phases = [...]string{"starting", "shut down", "shut down in recovery", "shutting down", "in crash recovery", "in archive recovery", "in production"}

// String is what pg_controldata says.
func (p Phase) String() string {
	if int(p) < len(phases) {
		return phases[p]
	}

	return fmt.Sprintf("phase %d", uint32(p))
}

// State is what a control file says of a server. It is of some time ago when the
// server runs.
type State struct {
	SystemID string
	Phase    Phase
	// Checkpoint is where the record of the last checkpoint begins, or of the last
	// restartpoint's; Redo is where a recovery begins; Timeline is that of both.
	Checkpoint uint64
	Redo       uint64
	Timeline   uint32
	// Newest is the timeline that the server was on last. A server that was promoted has no
	// checkpoint on its own timeline for a while, minutes on a busy one.
	Newest uint32
}

// Versions of the file that are laid out as read here: PostgreSQL 13 to 17, and 18.
const (
	versionOf13 = 1300
	versionOf18 = 1800
)

// ReadState reads the control file of a data directory. A layout that is not known
// is an error.
func ReadState(dataDir string) (State, error) {
	content, system, err := Read(dataDir)
	if err != nil {
		return State{}, err
	}

	if v := binary.LittleEndian.Uint32(content[8:]); v != versionOf13 && v != versionOf18 {
		return State{}, fmt.Errorf("pg_control is of version %d, which is not known", v)
	}

	st := State{SystemID: system, Phase: Phase(binary.LittleEndian.Uint32(content[stateOffset:])),
		Checkpoint: binary.LittleEndian.Uint64(content[32:]), Redo: binary.LittleEndian.Uint64(content[40:]),
		Timeline: binary.LittleEndian.Uint32(content[48:])}

	// minRecoveryPointTLI: a promotion writes its own timeline there, and the checkpoint after it zero.
	st.Newest = max(st.Timeline, binary.LittleEndian.Uint32(content[144:]))

	return st, nil
}
