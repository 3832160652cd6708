package planned

import (
	"context"
	"fmt"
	"slices"

	"drctl/activities/section"
	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/restore/runs"
)

// Journal is a section's, in one vault. Its entries are numbered, and a vault takes
// each number once.
type Journal struct {
	Vault               *vault.Vault
	Group, Run, Section string
}

func (j Journal) kind() string { return runs.JournalKind(j.Group, j.Run) }

func (j Journal) id(n int) string { return fmt.Sprintf("%s-%06d", j.Section, n) }

// Write implements section.Journal.
func (j Journal) Write(ctx context.Context, n int, e section.Entry) error {
	_, err := vault.Set{Vaults: []*vault.Vault{j.Vault}, Durability: 1}.SaveReport(ctx, j.kind(), j.id(n), e)
	return err
}

// Read implements section.Journal.
func (j Journal) Read(ctx context.Context) (out []section.Entry, err error) {
	for n := 1; ; n++ {
		var e section.Entry

		err := j.Vault.Report(ctx, j.kind(), j.id(n), &e)
		if fail.Is(err, fail.NotFound) {
			return out, nil
		}

		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
}

// Back is nil while what came before the sections of a run may be taken back. Conflict: a section may have done what
// nothing can undo, which an engine that took the run up need not know.
func Back(ctx context.Context, v *vault.Vault, run string, d plan.Definition, m plan.Mode) error {
	o := d.Outline(m)

	for i, s := range o.Steps {
		if s.Section == "" || slices.ContainsFunc(o.Steps[:i], func(n plan.Node) bool { return n.Section == s.Section }) {
			continue
		}

		es, err := Journal{Vault: v, Group: d.Group, Run: run, Section: s.Section}.Read(ctx)
		if err != nil {
			return err
		}

		stands, err := section.MayStand(o.Within(s.Section), es)
		if err != nil {
			return err
		}

		if stands {
			return fail.New(fail.Conflict, "recovery plan", run, "do not take it back: go on with it, and see where the group is with drctl status",
				fmt.Errorf("its section %s has begun before the run was taken up, and may have promoted servers", s.Section))
		}
	}

	return nil
}

// Begun reports whether a section of a run has begun by what its journal says.
func Begun(ctx context.Context, v *vault.Vault, run string, d plan.Definition) (bool, error) {
	var seen []string

	for _, s := range d.Steps {
		if s.Section == "" || slices.Contains(seen, s.Section) {
			continue
		}
		seen = append(seen, s.Section)

		es, err := Journal{Vault: v, Group: d.Group, Run: run, Section: s.Section}.Read(ctx)
		if err != nil || section.HasBegun(es) {
			return err == nil, err
		}
	}

	return false, nil
}
