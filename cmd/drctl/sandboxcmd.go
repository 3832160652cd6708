package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/internal/progress"
	"drctl/internal/sandbox"
	"drctl/internal/ui"
)

func (a *app) sandboxCmd() *cobra.Command {
	c := &cobra.Command{Use: "sandbox", Short: "List, look into and remove sandboxes"}
	var root string
	list := &cobra.Command{
		Use: "list", Short: "List the sandboxes on this host", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.sandboxList(cmd.Context(), root) },
	}
	list.Flags().StringVar(&root, "dir", "", "directory of the sandboxes (default: the configuration's)")
	show := &cobra.Command{
		Use: "show SANDBOX", Short: "Print how the restored servers are reached, passwords included", Args: ui.OneArg("a sandbox"),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := a.sandboxDir(args[0])
			if err != nil {
				return err
			}
			acc, err := readAccess(dir)
			if err != nil {
				return err
			}
			return a.printJSON(acc)
		},
	}
	rm := &cobra.Command{
		Use: "rm SANDBOX...", Short: "Stop a sandbox's servers and remove it", Args: ui.SomeArgs("a sandbox"),
		RunE: func(cmd *cobra.Command, args []string) error {
			removed := []string{}
			for _, x := range args {
				dir, err := a.sandboxDir(x)
				if err != nil {
					return err
				}
				box, err := sandbox.Open(dir)
				if err != nil {
					return err
				}
				if err := box.Remove(cmd.Context()); err != nil {
					return err
				}
				removed = append(removed, dir)
				if !a.json {
					fmt.Fprintf(a.out, "removed %s\n", dir)
				}
			}
			if a.json {
				return a.printJSON(answer.SandboxesRemoved{Removed: removed})
			}
			return nil
		},
	}
	c.AddCommand(list, show, rm, guardCmd())

	return c
}

// sandboxDir takes a path or an id.
func (a *app) sandboxDir(x string) (string, error) {
	if filepath.IsAbs(x) {
		return x, nil
	}

	cfg, err := a.load()
	if err != nil {
		return "", err
	}

	return filepath.Join(cfg.Sandbox.Dir, x), nil
}

func readAccess(dir string) ([]sandbox.Access, error) {
	if _, err := sandbox.Open(dir); err != nil {
		return nil, err
	}

	es, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}

	var out []sandbox.Access
	for _, e := range es {
		if acc, err := sandbox.ReadAccess(filepath.Join(dir, e.Name())); err == nil {
			out = append(out, acc)
		}
	}

	return out, nil
}

func (a *app) sandboxList(ctx context.Context, root string) error {
	if root == "" {
		cfg, err := a.load()
		if err != nil {
			return err
		}
		root = cfg.Sandbox.Dir
	}

	a.sweep(ctx, root)

	boxes, err := sandbox.List(root)
	if err != nil {
		return err
	}
	out := []answer.Sandbox{}

	var rows [][]string
	for _, b := range boxes {
		out = append(out, answer.Sandbox{ID: b.ID(), Dir: b.Dir(), Purpose: b.Purpose(), Created: b.Created(), Expires: b.Expires()})

		expires := "never"
		if e := b.Expires(); !e.IsZero() {
			expires = e.Local().Format(time.DateTime)
		}
		rows = append(rows, []string{b.ID(), b.Purpose(), b.Created().Local().Format(time.DateTime), expires, b.Dir()})
	}

	if a.json {
		return a.printJSON(out)
	}

	return progress.Table(a.out, []string{"SANDBOX", "PURPOSE", "CREATED", "EXPIRES", "DIRECTORY"}, rows)
}
