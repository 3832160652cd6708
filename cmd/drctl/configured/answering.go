package configured

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"drctl/config"
	"drctl/internal/vault"
)

// answerLimit is how long a vault may take to be opened and to answer.
const answerLimit = 10 * time.Second

// Answering are the vaults of a group that answer. They are asked at once: one in a region
// that is lost holds up no other. It is an error when none does.
func (p *Platform) Answering(ctx context.Context, group string) (vault.Set, error) {
	g, err := p.Group(group)
	if err != nil {
		return vault.Set{}, err
	}

	all, errs := make([]*vault.Vault, len(g.Policy.Vaults)), make([]error, len(g.Policy.Vaults))

	var wg sync.WaitGroup
	for i, region := range g.Policy.Vaults {
		wg.Go(func() {
			ctx, stop := context.WithTimeout(ctx, answerLimit)
			defer stop()

			v, err := p.Vault(ctx, region)
			if err == nil {
				err = v.Answers(ctx)
			}

			if errs[i] = err; err == nil {
				all[i] = v
			}
		})
	}

	wg.Wait()

	out := vault.Set{Durability: 1}
	for _, v := range all {
		if v != nil {
			out.Vaults = append(out.Vaults, v)
		}
	}

	if len(out.Vaults) == 0 {
		return out, errors.Join(errs...)
	}

	return out, nil
}

// Answering are the vaults of a group of a configuration that answer, where nothing else of
// the platform is needed.
func Answering(ctx context.Context, cfg *config.Config, group string) (vault.Set, error) {
	tools, err := Tools(cfg)
	if err != nil {
		return vault.Set{}, err
	}

	return New(cfg, tools, slog.New(slog.DiscardHandler)).Answering(ctx, group)
}
