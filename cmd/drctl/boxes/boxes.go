package boxes

import (
	"fmt"
	"io"
	"path/filepath"
	"time"

	"drctl/cmd/drctl/answer"
	"drctl/internal/progress"
	"drctl/internal/sandbox"
	"drctl/targets"
	"drctl/targets/client"
)

// Roots are the directories in which the sandboxes below dir can be: a command
// that was given dir for an engine of its own has them in a folder there.
func Roots(dir string) []string { return []string{dir, filepath.Join(dir, "sandbox")} }

// List reads the sandboxes below the roots, the oldest of each first.
func List(roots ...string) ([]answer.Sandbox, error) {
	out := []answer.Sandbox{}
	for _, root := range roots {
		boxes, err := sandbox.List(root)
		if err != nil {
			return nil, err
		}

		for _, b := range boxes {
			out = append(out, answer.Sandbox{ID: b.ID(), Dir: b.Dir(), Purpose: b.Purpose(), Run: b.MadeBy().Workflow, Created: b.Created(), Expires: b.Expires()})
		}
	}

	return out, nil
}

// Table prints a list for people.
func Table(w io.Writer, list []answer.Sandbox) error {
	var rows [][]string
	for _, b := range list {
		expires := "never"
		if !b.Expires.IsZero() {
			expires = b.Expires.Local().Format(time.DateTime)
		}

		rows = append(rows, []string{b.ID, b.Purpose, b.Run, b.Created.Local().Format(time.DateTime), expires, b.Dir})
	}

	return progress.Table(w, []string{"SANDBOX", "PURPOSE", "RUN", "CREATED", "EXPIRES", "DIRECTORY"}, rows)
}

// Show prints a line to paste for each server of a sandbox, passwords included.
func Show(w io.Writer, list []sandbox.Access) {
	for _, a := range list {
		fmt.Fprintf(w, "%-12s %s\n", a.Shard, client.Line(a.Instance()))
	}

	if len(list) == 0 {
		fmt.Fprintln(w, "no server was restored into this sandbox")
	}
}

// Left says of a sandbox that stays where it is, how its servers are looked
// into, until when it stays and how it goes. One of another host is out of
// sight: what is known of it is its directory.
func Left(w io.Writer, dir string) {
	until := "until you remove it"

	box, err := sandbox.Open(dir)
	if err == nil && !box.Expires().IsZero() {
		until = "until " + box.Expires().Local().Format(time.DateTime)
	}

	if err != nil {
		fmt.Fprintf(w, "sandbox %s, on the worker's host, where these commands run\n", dir)
	} else {
		fmt.Fprintf(w, "sandbox %s, stays %s\n", dir, until)
	}

	if list, err := sandbox.Accesses(dir); err == nil {
		for _, a := range list {
			in := a.Instance()
			in.Password = targets.Secret{}
			fmt.Fprintf(w, "  %-12s %s\n", a.Shard, client.Line(in))
		}
	}

	fmt.Fprintf(w, "  with passwords: drctl sandbox show %s\n  remove it with: drctl sandbox rm %s\n", dir, dir)
}
