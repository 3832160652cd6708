package debrief

import (
	"context"
	"os"

	"drctl/drills"
	"drctl/drills/gameday"
	"drctl/internal/report/evidence"
	"drctl/internal/vault"
)

// GameDay writes the record of a game day as Finish does that of a restore drill.
func (w *Writer) GameDay(ctx context.Context, in gameday.Seen, again bool) (drills.Outcome, error) {
	set, vaultErr := w.Platform.Set(ctx, in.Drill.Group, in.Drill.Vault)
	if vaultErr == nil {
		set, vaultErr = set.Answering(ctx)
	}
	set.Durability = 1

	host, _ := os.Hostname()
	made := gameday.Made{Host: host, At: in.Finished, Tool: evidence.Tool{Name: "drctl", Version: w.Version, Commit: evidence.KnownIf(w.Commit, "the build does not say")}}

	if vaultErr == nil {
		made.Previous = previousOf(ctx, set.Vaults[0], in.Drill.Name, in.Started)
	}

	rec, doc, err := evidence.Finalize(gameday.Record(in, made))
	if err != nil {
		return drills.Outcome{}, err
	}

	if err := vault.ValidName(rec.ID); err != nil {
		return drills.Outcome{}, err
	}

	return w.keep(ctx, set, vaultErr, rec, doc, nil, again)
}
