package atmoment

import (
	"context"
	"fmt"
	"time"

	"drctl/activities/planned"
	"drctl/internal/human"
	"drctl/internal/observation/batches"
	"drctl/internal/vault"
)

// late is how much a vault may lack without a word.
const late = time.Minute

// behind says that a vault knows nothing of the last while, and which other has seen more. A moment is
// the newest of its vault alone.
func (p Place) behind(ctx context.Context, v *vault.Vault, group string, asked, now time.Time) (out []string) {
	const form = "2006-01-02T15:04:05Z"

	if gap := now.Sub(asked); gap > late {
		out = append(out, fmt.Sprintf("the vault of %s has seen nothing of the group since %s, %s before this was asked", v.Region(), asked.UTC().Format(form), human.Duration(gap)))
	}

	set, err := p.Platform.Set(ctx, group, v.Region())
	if err != nil {
		return out // they cannot be had
	}

	for _, o := range planned.Reached(ctx, v, set).Vaults[1:] {
		if last, err := batches.Newest(ctx, o, group); err == nil && last.Ended.Sub(asked) > late {
			out = append(out, fmt.Sprintf("the vault of %s has seen the group until %s: it may lead to a newer moment", o.Region(), last.Ended.UTC().Format(form)))
		}
	}

	return out
}
