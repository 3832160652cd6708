package choosing

import (
	"context"
	"fmt"
	"io"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/choices"
	"drctl/restore/machine"
	"drctl/restore/runs"
	"drctl/workflows/recovery"
)

// keptAs names the record of what was foreseen among what a run notes down.
const keptAs = "foreseen"

// Keep has the vault of the region that takes over know what was shown when a run began. It may be repeated: what is there stays.
func Keep(ctx context.Context, v *vault.Vault, run string, t choices.Table) error {
	_, err := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}.SaveReport(ctx, runs.JournalKind(t.Group, run), keptAs, t)
	if fail.Is(err, fail.Conflict) {
		return nil
	}

	return err
}

// Kept is what was shown when a run began that is taken up; nil where the vault does not tell, or not at once.
func Kept(ctx context.Context, v *vault.Vault, group, run string) *choices.Table {
	ctx, stop := context.WithTimeout(ctx, choices.ServerLimit)
	defer stop()

	var t choices.Table
	if err := v.Report(ctx, runs.JournalKind(group, run), keptAs, &t); err != nil {
		return nil
	}

	return &t
}

// Compare holds what came of a run against what was foreseen. It prints nothing of a run of which nothing was.
func Compare(w io.Writer, out recovery.Out) {
	switch {
	case out.Choices == nil:
		return
	case out.Verdict != machine.Reached:
		fmt.Fprintln(w, out.Choices.Words())
		return
	}

	ended := out.Finished // which a run that is asked does not know
	for _, s := range out.Steps {
		if s.Finished.After(ended) {
			ended = s.Finished
		}
	}

	got := choices.Reached{Took: ended.Sub(out.Started), LostWhy: "the failover has made no statement of loss"}
	if out.Loss != nil {
		got.Silent = out.Loss.Silent
		got.LostFrom, got.LostWhy = out.Loss.LostFrom()
	}

	fmt.Fprintln(w, out.Choices.Compare(got))
}
