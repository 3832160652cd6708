package batches

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/vault"
	"drctl/targets"
)

const (
	readsAtOnce = 16
	hint        = "repair it from another region's vault; without it no cut of that time can be proven here"
)

// Save stores a batch in every vault that answers, and returns nil once as many
// hold it as the set's durability asks for. What a vault missed, only Each of a
// later call or a mirror of vaults brings up. A batch that is there already is done.
func Save(ctx context.Context, set vault.Set, b observation.Batch) error {
	content, err := observation.Encode(b)
	if err != nil {
		return err
	}
	_, err = set.PutEncrypted(ctx, nameOf(b).Key(), nil, content)

	return err
}

// SaveEach is Save with the outcome per vault, in the order of the set's
// Vaults. The second error is set when nothing was tried.
func SaveEach(ctx context.Context, set vault.Set, b observation.Batch) ([]error, error) {
	content, err := observation.Encode(b)
	if err != nil {
		return nil, err
	}

	return set.PutEncryptedEach(ctx, nameOf(b).Key(), nil, content)
}

func nameOf(b observation.Batch) vault.ObservationName {
	return vault.ObservationName{Group: b.Group, Observer: b.Observer, Began: b.Began, Ended: b.Ended}
}

// before tells which have nothing of the time since a time. One that an observer began after one that has
// is none of them, however short it is: who proves a cut demands all from the first to the last.
func before(names []vault.ObservationName, since time.Time) func(vault.ObservationName) bool {
	since = since.Truncate(time.Millisecond)
	first := map[string]time.Time{}

	for _, n := range names {
		if at, ok := first[n.Observer]; !n.Ended.Before(since) && (!ok || n.Began.Before(at)) {
			first[n.Observer] = n.Began
		}
	}

	return func(n vault.ObservationName) bool {
		at, ok := first[n.Observer]
		return !ok || n.Began.Before(at)
	}
}

// Since drops the batches that Read would not return for a time that begins later.
func Since(all []observation.Batch, since time.Time) []observation.Batch {
	names := make([]vault.ObservationName, len(all))
	for i := range all {
		names[i] = nameOf(all[i])
	}
	old := before(names, since)

	return slices.DeleteFunc(slices.Clone(all), func(b observation.Batch) bool { return old(nameOf(b)) })
}

// Read returns the batches of a group that have something of the time from since
// until until, both included, by the observers' wall clocks, and all that the same observer began
// in between, in order of when they began. Those that are damaged, or not what their name says, are passed over
// and named in damaged. An error means that the vault could not be read.
func Read(ctx context.Context, v *vault.Vault, group string, since, until time.Time) (found []observation.Batch, damaged []error, err error) {
	keys, err := List(ctx, v, group, since.Add(-observation.MaxTook), until)
	if err != nil {
		return nil, nil, err
	}

	keys = slices.DeleteFunc(keys, before(keys, since))
	got := make([]*observation.Batch, len(keys))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)
	var mu sync.Mutex

	for i, key := range keys {
		g.Go(func() error {
			b, err := Get(gctx, v, key)
			switch {
			case err == nil:
				got[i] = &b
			case isDamage(err):
				mu.Lock()
				damaged = append(damaged, err)

				mu.Unlock()
			case !fail.Is(err, fail.NotFound): // else retention removed it since the listing
				return err
			}

			return nil
		})
	}

	if err := g.Wait(); err != nil {
		return nil, nil, err
	}

	for _, b := range got {
		if b != nil {
			found = append(found, *b)
		}
	}

	return found, damaged, nil
}

// Newest returns the batch of a group that began last, of those that are whole.
// The error has code not-found when there is none. A name in the future by this
// host's clock is no observer's.
func Newest(ctx context.Context, v *vault.Vault, group string) (observation.Batch, error) {
	until := time.Now().Add(targets.ClockLead)

	for span := time.Minute; ; span *= 8 {
		since := until.Add(-targets.ClockLead - span)

		whole := span > 400*24*time.Hour
		if whole {
			since = time.Time{}
		}

		keys, err := List(ctx, v, group, since, until)
		if err != nil {
			return observation.Batch{}, err
		}

		for _, key := range slices.Backward(keys) {
			b, err := Get(ctx, v, key)
			if err == nil || !isDamage(err) && !fail.Is(err, fail.NotFound) {
				return b, err
			}
		}

		if whole {
			return observation.Batch{}, fail.New(fail.NotFound, "observation: read", group, "", errors.New("the vault holds no observations of the group"))
		}
	}
}

// isDamage reports whether the object is to blame, and not the vault. One of a
// later version cannot be used either.
func isDamage(err error) bool { return fail.Is(err, fail.Corrupt) || fail.Is(err, fail.Unsupported) }

// List lists the batches of a group that began from since until until, both included, in
// order of when they began. It costs what lies between the two, and of a directory the names of a folder.
// Names that no observer writes are passed over: Verify tells of them.
func List(ctx context.Context, v *vault.Vault, group string, since, until time.Time) (all []vault.ObservationName, err error) {
	since = since.Truncate(time.Millisecond)

	for i, err := range v.Store().List(ctx, vault.ObservationsPrefix(group), vault.ObservationsFrom(group, since)) {
		if err != nil {
			return nil, err
		}

		o, ok := vault.ParseObservationKey(i.Key)
		if !ok {
			continue
		}

		if o.Began.After(until.Add(vault.ObservationFolder)) {
			break // flat ones of the folder's time have been listed, too
		}

		if !o.Began.Before(since) && !o.Began.After(until) {
			all = append(all, o)
		}
	}

	slices.SortStableFunc(all, func(a, b vault.ObservationName) int { return a.Began.Compare(b.Began) })

	return all, nil
}

// Get reads a batch and holds it against its name. The error has code corrupt or unsupported
// where it cannot be used, and not-found where retention removed it.
func Get(ctx context.Context, v *vault.Vault, name vault.ObservationName) (observation.Batch, error) {
	content, _, err := v.ReadEncrypted(ctx, name.Key())
	if err != nil {
		return observation.Batch{}, err
	}

	damaged := func(code fail.Code, err error) (observation.Batch, error) {
		return observation.Batch{}, fail.New(code, "observation: read", v.Store().URL()+"/"+name.Key(), hint, err)
	}

	b, err := observation.Decode(content)
	is := nameOf(b)
	is.Flat = name.Flat

	switch {
	case err != nil:
		return damaged(fail.CodeOf(err), err)
	case is.Key() != name.Key():
		return damaged(fail.Corrupt, fmt.Errorf("the content is that of %.200q", is.Key()))
	case b.Ended.After(time.Now().Add(targets.ClockLead)):
		return damaged(fail.Corrupt, fmt.Errorf("it ended at %s, in the future by the clock of this host", b.Ended))
	}

	return b, nil
}
