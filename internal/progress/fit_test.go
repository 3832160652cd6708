package progress

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A terminal that is too narrow cuts long texts, and never a name, a time or an amount.
func TestTableOnANarrowTerminal(t *testing.T) {
	headers := []string{"BASE", "FINISHED", "READ", "METHOD", "USABLE FROM"}
	rows := [][]string{{"20261128T051908Z-orders-0", "2026-11-28 05:19:30", "37 MiB", "files", "0/402D8B0 on timeline 1 of system 7713087436112207115"}}

	for cols, want := range map[int]string{
		0:   "0/402D8B0 on timeline 1 of system 7713087436112207115\n",
		200: "0/402D8B0 on timeline 1 of system 7713087436112207115\n",
		100: "20261128T051908Z-orders-0  2026-11-28 05:19:30  37 MiB  files   0/402D8B0 on timeline 1 of system 7…\n",
		80:  "20261128T051908Z-orders-0  2026-11-28 05:19:30  37 MiB  files   0/402D8B0 on ti…\n",
		60:  "0/402D8B0 on timeline 1 of system 7713087436112207115\n", // not even then
	} {
		var b bytes.Buffer
		if err := (Style{NoColor: true}).table(&b, cols, headers, rows); err != nil {
			t.Fatal(err)
		}

		if !strings.HasSuffix(b.String(), want) {
			t.Errorf("%d columns:\n%s", cols, &b)
		}
	}
}

// Either the table fits, or nothing is cut.
func TestTableFitsOrIsWhole(t *testing.T) {
	cell := rapid.StringMatching(`[a-z0-9 :.]{0,40}`)

	rapid.Check(t, func(rt *rapid.T) {
		headers := rapid.SliceOfN(rapid.StringMatching(`[A-Z]{1,12}`), 1, 6).Draw(rt, "headers")
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, len(headers), len(headers)), 0, 4).Draw(rt, "rows")
		cols := rapid.IntRange(1, 150).Draw(rt, "cols")
		var whole, cut bytes.Buffer

		if err := (Style{NoColor: true}).table(&whole, 0, headers, rows); err != nil {
			rt.Fatal(err)
		}

		if err := (Style{NoColor: true}).table(&cut, cols, headers, rows); err != nil {
			rt.Fatal(err)
		}

		for line := range strings.Lines(cut.String()) {
			if whole.String() != cut.String() && width(strings.TrimRight(line, "\n")) > cols {
				rt.Fatalf("cut, and wider than %d:\n%s", cols, &cut)
			}
		}
	})
}
