package drillview

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"drctl/cmd/drctl/boxes"
	"drctl/drills"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/progress"
	"drctl/internal/report"
	"drctl/internal/report/evidence"
	"drctl/internal/ui"
)

// View is where records of drills are shown, and how.
type View struct {
	Out   io.Writer
	JSON  bool
	Style progress.Style
	// Say tells a person something beside the answer.
	Say func(level slog.Level, format string, args ...any)
}

// Done shows how a drill ended, and where its report is. The error is its verdict.
func (v View) Done(ctx context.Context, vaults platform.Resolver, out drills.Outcome) (err error) {
	if len(out.Record) == 0 { // no more than its name crossed the engine
		if out.Record, err = report.Read(ctx, vaults.Vault, out.Vaults, out.JSON, out.ID, out.SHA256); err != nil {
			return err
		}
	}

	var rec evidence.Record
	if err := json.Unmarshal(out.Record, &rec); err != nil {
		return fail.New(fail.Corrupt, "drill", out.ID, "", err)
	}

	if v.JSON {
		if err := ui.PrintJSON(v.Out, out); err != nil {
			return err
		}
	} else {
		if err := report.Text(v.Out, rec, v.Style); err != nil {
			return err
		}

		fmt.Fprintf(v.Out, "report: %s\n        %s\n", out.HTML, out.JSON)

		if out.Problem == "" {
			fmt.Fprintf(v.Out, "        and in the vault of %s\n", strings.Join(out.Vaults, " and of "))
		} else {
			v.Say(slog.LevelWarn, "the report is in no vault: %s", out.Problem)
		}

		if out.Sandbox != "" {
			boxes.Left(v.Out, out.Sandbox)
		}
	}

	return drills.VerdictError(rec.Name, rec.Verdict)
}

// Record shows a record, and writes its page to a file unless that is "".
func (v View) Record(rec evidence.Record, doc json.RawMessage, html string) error {
	if html != "" {
		f, err := os.Create(html)
		if err != nil {
			return fail.New(fail.Denied, "drill show", html, "", err)
		}

		if err := errors.Join(report.HTML(f, rec), f.Close()); err != nil {
			return err
		}

		v.Say(slog.LevelInfo, "wrote %s", html)
	}

	if v.JSON {
		_, err := v.Out.Write(append(doc, '\n'))
		return err
	}

	return report.Text(v.Out, rec, v.Style)
}
