package statusview

import (
	"fmt"
	"io"
	"time"

	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/restore/readiness/alone"
)

// Alone shows what one vault alone holds of a group.
func Alone(w io.Writer, h alone.Held) error {
	fmt.Fprintf(w, "group %s in the vault of %s alone; nothing live was asked\n", h.Group, h.Vault)

	if h.Recoverable {
		fmt.Fprintf(w, "a plan can be made to cut %s, taken %s ago\n", h.NewestCut, human.Duration(time.Since(h.TakenAt)))
	}

	if h.Checked.IsZero() {
		fmt.Fprintln(w, "no check of this vault is on record; check it with: drctl backup verify")
	} else {
		fmt.Fprintf(w, "checked %s ago\n", human.Duration(time.Since(h.Checked)))
	}

	rows := make([][]string, len(h.Shards))
	for i, s := range h.Shards {
		rows[i] = []string{s.Shard.String(), string(s.Kind), s.Base, ""}
		if !s.BaseFinished.IsZero() {
			rows[i][3] = human.Duration(time.Since(s.BaseFinished)) + " ago"
		}
	}

	if err := progress.Table(w, []string{"SHARD", "KIND", "NEWEST BASE", "FINISHED"}, rows); err != nil {
		return err
	}

	for _, p := range h.Problems {
		fmt.Fprintln(w, "PROBLEM "+p)
	}

	return nil
}
