package indoubt

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"drctl/targets"
)

// Judge says whether what is prepared in a server that was restored to a cut is
// what may be: one finding without its subject.
//
// A cut that was taken by locks has none that wrote to the tables that were locked. One
// that was read out of the logs has those alone that it leaves, and those from before the log
// of which it knows.
func Judge(all []Transaction, want Want) targets.Finding {
	f := targets.Finding{Check: Check, Severity: targets.Passed, Expected: "none", Got: "0"}

	var wrong, left []string
	for _, t := range all {
		if why := misplaced(t, want); why != "" {
			wrong = append(wrong, t.String()+why)
		} else {
			left = append(left, t.String())
		}
	}

	if len(all) > 0 {
		f.Severity, f.Got = targets.Warned, fmt.Sprintf("%d in doubt", len(all))
		f.Detail = listed(left) + "; each holds its locks until it is ended: COMMIT PREPARED or ROLLBACK PREPARED, as its transaction manager says"
	}

	if len(wrong) > 0 {
		f.Severity, f.Expected, f.Detail = targets.Failed, "none but what the cut leaves", listed(wrong)
		if !want.Proven() {
			f.Expected = "none that wrote to the quiesced tables"
		}
	}

	return f
}

// misplaced says why a transaction must not be prepared; "" when it may.
func misplaced(t Transaction, want Want) string {
	if !want.Proven() {
		if t.Writes {
			return " (it wrote to the quiesced tables)"
		}

		return ""
	}

	for _, d := range want.List {
		switch {
		case d.GID != t.GID:
		case d.Action == targets.InDoubtLeave:
			return ""
		default:
			return " (the cut says " + string(d.Action) + ")"
		}
	}

	if severity, why := unlisted(t, want); severity == targets.Failed {
		return " (" + why + ")"
	}

	return ""
}

func sorted(all map[targets.GID]Transaction) []Transaction {
	return slices.SortedFunc(maps.Values(all), func(a, b Transaction) int {
		return cmp.Or(a.Prepared.Compare(b.Prepared), cmp.Compare(a.GID, b.GID))
	})
}

// listed joins names, the first of many.
func listed(names []string) string {
	const most = 20
	if n := len(names); n > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n-most)
	}

	return strings.Join(names, ", ")
}
