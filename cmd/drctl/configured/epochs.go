package configured

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"drctl/config/storage"
	"drctl/internal/detection/board"
	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/vault"
)

// enough voters have a majority left when one is away.
const enough = 3

// Witnessed reports whether the platform has the voters that epochs need.
func (p *Platform) Witnessed() bool { return p.Config.Voters() >= enough }

// Lease is that of epochs which are claimed here.
func (p *Platform) Lease() time.Duration { return p.Config.Guard.Lease }

// Epochs is the sequence that says which region of a group may write, in all vaults and
// the witness. Each process has one, which knows what it has read. It is fail.Unsupported
// where there are fewer than three voters; it asks nobody but a vault for its set.
func (p *Platform) Epochs(ctx context.Context, group string) (*epoch.Log, error) {
	const op = "epochs"
	if !p.Witnessed() {
		return nil, fail.New(fail.Unsupported, op, group, "name a witness in the configuration: a directory or a bucket in a third place",
			fmt.Errorf("with %d voters the loss of one vault would leave no majority", p.Config.Voters()))
	}

	return opened(p, p.epochs, group, func() (*epoch.Log, error) {
		voters, seal, err := p.voting(ctx)
		if err != nil {
			return nil, err
		}

		host, _ := os.Hostname() // for people

		return epoch.Open(epoch.Config{Group: group, Voters: voters, Codec: seal, By: fmt.Sprintf("%s, process %d", host, os.Getpid())})
	}, (*epoch.Log).Close)
}

// opened is what this process has of a group: one, however many ask for it at once. Closed is
// told of one that came too late.
func opened[T any](p *Platform, all map[string]*T, group string, open func() (*T, error), closed func(*T)) (*T, error) {
	p.mu.Lock()
	one := all[group]

	p.mu.Unlock()

	if one != nil {
		return one, nil
	}

	one, err := open()
	if err != nil {
		return nil, err
	}

	p.mu.Lock()
	defer p.mu.Unlock()

	if other := all[group]; other != nil {
		closed(one)
		return other, nil
	}
	all[group] = one

	return one, nil
}

// voting is what records in all voters need.
func (p *Platform) voting(ctx context.Context) ([]epoch.Voter, epoch.Seal, error) {
	voters, err := p.voters(ctx)
	if err != nil {
		return nil, epoch.Seal{}, err
	}
	seal, err := p.seal(ctx)

	return voters, seal, err
}

// voters are the stores of all vaults and of the witness.
func (p *Platform) voters(ctx context.Context) (out []epoch.Voter, err error) {
	add := func(name string, at storage.Location) error {
		s, err := vault.OpenStore(ctx, located(at))
		out = append(out, epoch.Voter{Name: name, Store: s})

		return err
	}

	for _, r := range p.Config.RegionNames() {
		at, err := p.Config.VaultLocation(ctx, r)
		if err == nil {
			err = add(r, at)
		}

		if err != nil {
			return nil, err
		}
	}

	at, ok, err := p.Config.WitnessLocation(ctx)
	if ok && err == nil {
		err = add(storage.Witness, at)
	}

	return out, err
}

// seal is of the vault set, which one vault that answers is enough to know.
func (p *Platform) seal(ctx context.Context) (epoch.Seal, error) {
	type answer struct {
		v   *vault.Vault
		err error
	}
	regions := p.Config.RegionNames()
	got := make(chan answer, len(regions))

	for _, r := range regions {
		go func() {
			v, err := p.Vault(ctx, r)
			got <- answer{v, err}
		}()
	}

	var errs []error
	for range regions {
		a := <-got
		if a.err == nil {
			return epoch.NewSeal(a.v.Key(), a.v.SetID())
		}
		errs = append(errs, a.err)
	}

	return epoch.Seal{}, fail.New(fail.CodeOf(errs[0]), "epochs", "", "make a vault reachable", errors.Join(errs...))
}

// Board is where vantage points keep what they saw of a group, and people's orders about
// that. Each process has one, which knows what it has read.
func (p *Platform) Board(ctx context.Context, group string) (*board.Board, error) {
	return opened(p, p.boards, group, func() (*board.Board, error) {
		voters, seal, err := p.voting(ctx)
		if err != nil {
			return nil, err
		}

		var of []board.Voter
		for _, v := range voters {
			of = append(of, board.Voter{Name: v.Name, Store: v.Store})
		}

		return board.Open(group, of, seal, epoch.Boot, p.Config.Detection.Limit)
	}, func(*board.Board) {})
}
