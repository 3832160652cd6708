package drills

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/report/evidence"
	"drctl/targets"
)

// methodLatest and methodRandom are precise enough to repeat a draw with a
// listing of the cuts and sha256sum.
const (
	methodLatest = "newest sealed cut of the group"
	methodRandom = "random: sealed cuts of the group taken in the window, sorted by id; " +
		"the index is the first 8 bytes (big endian) of SHA-256(seed in decimal, LF, then every id followed by LF) modulo the population"
)

// beforeDisaster follows the method of a drill that simulates a disaster.
const beforeDisaster = "; only cuts that were taken and sealed before the disaster"

// PickCut chooses the cut that a drill recovers, from sealed cuts of the group
// only. It is pure. No candidate is what was taken after now, or was not sealed
// yet when the disaster came (zero: there was none). def.Seed decides a random
// draw, or seed when that is 0: the same cuts, window and seed always give the
// same cut. The code is not-found when there is nothing to choose from.
func PickCut(cuts []targets.Cut, def Definition, now, disaster time.Time, seed int64) (targets.Cut, evidence.Sample, error) {
	if err := def.Validate(); err != nil {
		return targets.Cut{}, evidence.Sample{}, err
	}
	var sealed []targets.Cut

	unsealed := 0
	for _, c := range cuts {
		switch {
		case c.Group != def.Group, c.Partial():
		case c.SealedAt.IsZero():
			unsealed++
		default:
			sealed = append(sealed, c)
		}
	}

	slices.SortFunc(sealed, func(a, b targets.Cut) int { return strings.Compare(a.ID, b.ID) })
	sealed = slices.CompactFunc(sealed, func(a, b targets.Cut) bool { return a.ID == b.ID })

	s := evidence.Sample{Method: methodLatest, Seed: "0"}
	if def.Cut == Random {
		s.From, s.To, s.Method = now.Add(-def.Window).UTC(), now.UTC(), methodRandom
	}
	usable := slices.DeleteFunc(slices.Clone(sealed), func(c targets.Cut) bool {
		return c.QuiescedAt.After(now) || !disaster.IsZero() && !(c.QuiescedAt.Before(disaster) && c.SealedAt.Before(disaster))
	})

	if !disaster.IsZero() {
		s.Method += beforeDisaster
	}

	pop := slices.DeleteFunc(slices.Clone(usable), func(c targets.Cut) bool { return c.QuiescedAt.Before(s.From) })
	if len(pop) == 0 {
		return targets.Cut{}, s, noCut(def, disaster, len(sealed), len(usable), unsealed)
	}
	s.Population = len(pop)
	s.PopulationSHA256 = digest(pop, "")

	at := len(pop) - 1
	if def.Cut == Random {
		if def.Seed != 0 {
			seed = def.Seed
		}
		s.Seed = strconv.FormatInt(seed, 10)
		raw, _ := hex.DecodeString(digest(pop, s.Seed+"\n")) // digest always returns hex
		at = int(binary.BigEndian.Uint64(raw) % uint64(len(pop)))
	}

	cut := pop[at]
	for _, c := range sealed {
		// The first moment at which a later cut could have been used instead.
		if c.ID > cut.ID && (s.Next.IsZero() || c.SealedAt.Before(s.Next)) {
			s.Next = c.SealedAt.UTC()
		}
	}

	return cut, s, nil
}

func digest(cuts []targets.Cut, prefix string) string {
	h := sha256.New()

	_, _ = io.WriteString(h, prefix) // a hash never fails to write
	for _, c := range cuts {
		_, _ = io.WriteString(h, c.ID+"\n")
	}

	return hex.EncodeToString(h.Sum(nil))
}

func noCut(def Definition, disaster time.Time, sealed, usable, unsealed int) error {
	cause := errors.New("the vault holds no sealed cut of this group")

	hint := "take one with: drctl cut now --group " + def.Group
	switch {
	case sealed > 0 && usable == 0 && !disaster.IsZero():
		cause = fmt.Errorf("none of %d sealed cuts was taken and sealed before the disaster at %s", sealed, disaster.UTC().Format(time.RFC3339))
		hint = "is the instant right? drctl cut list --group " + def.Group + " shows the cuts; what was lost cannot be recovered from later ones"
	case sealed > 0 && def.Cut == Random:
		cause = fmt.Errorf("none of %d sealed cuts was taken in the last %s", sealed, def.Window)
		hint = "widen the drill's window, or find out why no cuts are taken: drctl cut list --group " + def.Group
	case sealed > 0:
		cause = fmt.Errorf("all of %d sealed cuts were taken after the drill began", sealed)
		hint = "do the clocks of the hosts agree?"
	case unsealed > 0:
		cause = fmt.Errorf("none of %d cuts is sealed", unsealed)
		hint = "find out why cuts are not sealed: drctl status"
	}

	return fail.New(fail.NotFound, "drill: pick a cut", def.Group, hint, cause)
}
