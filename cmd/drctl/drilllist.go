package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"drctl/cmd/drctl/answer"
	"drctl/drills"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/progress"
	"drctl/internal/report/evidence"
	"drctl/internal/vault"
)

func (a *app) drillList(ctx context.Context, place vaultFlags) error {
	out, damaged, err := a.drillRows(ctx, place)
	if err != nil {
		return err
	}

	if a.json {
		return errors.Join(append(damaged, a.printJSON(out))...)
	}

	var rows [][]string
	for _, r := range out {
		last, verdict := "never", ""
		if r.Passed != nil {
			last, verdict = r.LastAt.Local().Format(time.DateTime), "FAILED"
			if *r.Passed {
				verdict = "passed"
			}
		}

		if r.Cancelled != "" {
			verdict = strings.TrimSpace(verdict + ", one since cancelled")
			verdict = strings.TrimPrefix(verdict, ", ")
		}
		rows = append(rows, []string{r.Name, r.Group, r.Vault, last, verdict, r.RTO, r.RPO, r.Last})
	}
	err = progress.Table(a.out, []string{"DRILL", "GROUP", "VAULT", "LAST", "VERDICT", "RTO", "RPO", "REPORT"}, rows)

	return errors.Join(append(damaged, err)...)
}

// drillRows are the configured drills with what their vaults say of them, or,
// without a configuration, those of which the vault holds a record.
func (a *app) drillRows(ctx context.Context, place vaultFlags) (out []answer.Drill, damaged []error, err error) {
	if place.url != "" {
		v, err := a.openAlone(ctx, place)
		if err != nil {
			return nil, nil, err
		}

		last, damaged, err := drills.History(ctx, v)
		for _, name := range slices.Sorted(maps.Keys(last)) {
			row := answer.Drill{Name: name, Vault: v.Region()}
			row.Fill(last[name])
			out = append(out, row)
		}

		return out, damaged, err
	}

	s, err := a.offline()
	if err != nil {
		return nil, nil, err
	}

	read := map[string]map[string]drills.Last{} // by region
	for _, name := range s.cfg.DrillNames() {
		d := s.cfg.Drills[name]
		if read[d.Vault] == nil {
			v, err := s.p.Vault(ctx, d.Vault)
			if err != nil {
				return nil, nil, err
			}

			last, bad, err := drills.History(ctx, v)
			if err != nil {
				return nil, nil, err
			}
			read[d.Vault], damaged = last, append(damaged, bad...)
		}
		row := answer.Drill{Name: name, Group: d.Group, Vault: d.Vault, Every: d.Every}
		row.Fill(read[d.Vault][name])
		out = append(out, row)
	}

	return out, damaged, nil
}

func (a *app) drillShow(ctx context.Context, place vaultFlags, region, id, html string) error {
	open, regions, err := a.drillVaults(ctx, place, region)
	if err != nil {
		return err
	}
	var last error

	var held []string
	for _, r := range regions {
		v, err := open(ctx, r)
		if err != nil {
			last = err
			continue
		}

		var doc json.RawMessage
		if err := v.Report(ctx, "drill", id, &doc); fail.Is(err, fail.NotFound) {
			held = append(held, r)
			continue
		} else if err != nil {
			last = err
			continue
		}

		rec, err := evidence.Verify(doc)
		if err != nil {
			return err
		}

		return a.drillView().Record(rec, doc, html)
	}

	if last != nil {
		return last
	}

	return fail.New(fail.NotFound, "drill show", "", "list the drills and their reports with: drctl drill list",
		fmt.Errorf("there is no drill report %s in the vault of %s", id, strings.Join(held, " and of ")))
}

// drillVaults are the vaults that may hold a record.
func (a *app) drillVaults(ctx context.Context, place vaultFlags, region string) (open func(context.Context, string) (*vault.Vault, error), regions []string, err error) {
	if place.url != "" {
		v, err := a.openAlone(ctx, place)
		if err != nil {
			return nil, nil, err
		}

		return platform.OnlyVault{V: v}.Vault, []string{v.Region()}, nil
	}

	s, err := a.offline()
	if err != nil {
		return nil, nil, err
	}

	if err := knownRegion(s.cfg, "--vault", region); err != nil {
		return nil, nil, err
	}

	if region != "" {
		return s.p.Vault, []string{region}, nil
	}

	return s.p.Vault, s.cfg.RegionNames(), nil
}
