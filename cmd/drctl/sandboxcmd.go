package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/boxes"
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
			acc, err := sandbox.Accesses(dir)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(acc)
			}
			boxes.Show(a.out, acc)
			return nil
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
	if strings.ContainsRune(x, filepath.Separator) {
		return filepath.Abs(x)
	}

	cfg, err := a.load()
	if err != nil {
		return "", err
	}

	return filepath.Join(cfg.Sandbox.Dir, x), nil
}

func (a *app) sandboxList(ctx context.Context, dir string) error {
	roots := boxes.Roots(dir)
	if dir == "" {
		cfg, err := a.load()
		if err != nil {
			return err
		}
		roots = []string{cfg.Sandbox.Dir}
	}

	a.sweep(ctx, roots...)

	list, err := boxes.List(roots...)
	if err != nil {
		return err
	}

	if a.json {
		return a.printJSON(list)
	}

	return boxes.Table(a.out, list)
}
