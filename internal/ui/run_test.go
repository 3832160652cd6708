package ui

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"drctl/internal/fail"
)

func TestStatus(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()

	broken := fail.New(fail.Invalid, "flags", "--size", "write it like 500MiB", errors.New("lots"))
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		json bool
		code int
		says string
	}{
		{"done", t.Context(), nil, false, 0, ""},
		{"interrupted", gone, fmt.Errorf("waiting: %w", context.Canceled), false, 130, "prog: interrupted"},
		{"an error while interrupted", gone, broken, false, 2, "500MiB"},
		{"a status without a word", t.Context(), Exit{Code: 3}, false, 3, ""},
		{"a status with a message", t.Context(), Exit{4, "2 problems"}, false, 4, "prog: 2 problems"},
		{"a status as JSON", t.Context(), Exit{3, "half"}, true, 3, `"code":"partial"`},
		{"wrong usage as JSON", t.Context(), errors.New("required flag(s) not set"), true, 2, `"code":"invalid"`},
		{"wrong usage", t.Context(), errors.New("unknown flag: --x"), false, 2, "prog: unknown flag: --x"},
		{"an error", t.Context(), broken, false, 2, "prog: "},
		{"an error as JSON", t.Context(), broken, true, 2, `"hint":"write it like 500MiB"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			root := &cobra.Command{Use: "prog"}
			root.SetErr(&out)
			root.PersistentFlags().Bool("json", c.json, "")

			if code := status(c.ctx, root, c.err); code != c.code {
				t.Errorf("exit status %d, want %d", code, c.code)
			}

			if !strings.Contains(out.String(), c.says) || c.says == "" && out.Len() > 0 {
				t.Errorf("printed %q, want %q", out.String(), c.says)
			}
		})
	}
}
