package targets

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Spacer is the part of a driver whose store may keep parts of its data at
// places of their own, which a base holds one by one.
type Spacer interface {
	// Tablespaces maps the oid of each tablespace outside the data directory to
	// its location. It is cheap enough to be asked often.
	Tablespaces(ctx context.Context, in Instance) (map[string]string, error)
}

// Outgrown says why what a server with these tablespaces writes now cannot be
// replayed over the newest of a shard's bases: that base lacks one of them. It
// returns "" when nothing is lacking, and when there is no base.
func Outgrown(bases []Artifact, tablespaces map[string]string) string {
	if len(bases) == 0 {
		return ""
	}
	newest := slices.MaxFunc(bases, func(a, b Artifact) int { return a.Finished.Compare(b.Finished) })

	var lacking []string
	for _, oid := range slices.SortedFunc(maps.Keys(tablespaces), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	}) {
		if _, held := newest.Tablespaces[oid]; !held {
			lacking = append(lacking, fmt.Sprintf("tablespace %s at %s", oid, tablespaces[oid]))
		}
	}

	if len(lacking) == 0 {
		return ""
	}

	return fmt.Sprintf("%s: made after the newest base %s, and no cut since then can be recovered without a new one", strings.Join(lacking, ", "), newest.ID)
}
