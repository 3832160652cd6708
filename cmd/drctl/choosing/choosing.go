package choosing

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/internal/progress"
	"drctl/restore/choices"
	"drctl/targets"
	"drctl/targets/all"
)

// Foresee has both ways foreseen. A program that is missing here is a reason of what it keeps from
// being known.
func Foresee(ctx context.Context, cfg *config.Config, a choices.Ask) choices.Table {
	log := slog.New(slog.DiscardHandler)
	tools, _ := configured.Tools(cfg) // a vault that needs what is not there says so
	drivers := map[targets.Kind]targets.Driver{}

	for _, d := range all.Drivers(all.Options{Tools: tools, Log: log}) {
		drivers[d.Kind()] = d
	}

	return choices.Sources{Platform: configured.New(cfg, tools, log), Drivers: drivers, Logs: all.Logs()}.Foresee(ctx, a)
}

// Print shows the table.
func Print(w io.Writer, t choices.Table) error {
	fmt.Fprintf(w, "Two ways, as foreseen at %s:\n", t.At.UTC().Format("2006-01-02T15:04:05Z"))

	head, rows := t.Rows()
	if err := progress.Table(w, head, rows); err != nil {
		return err
	}

	for _, line := range t.Lines() {
		fmt.Fprintln(w, line)
	}

	return nil
}
