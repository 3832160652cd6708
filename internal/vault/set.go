package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// Set is the vaults that one policy writes, and how many must hold a byte
// before it counts as durable. All belong to one vault set.
type Set struct {
	Vaults []*Vault
	// Durability is how many vaults must hold a byte; 0 means all.
	Durability int
	// Away names the regions of the policy's other vaults, which cannot be
	// reached now. They count for what Durability asks: one that it needs keeps
	// everything from being durable, and nothing from being written.
	Away []string
}

// Need is how many vaults must hold a byte before it is durable. That can be
// more than can be reached.
func (s Set) Need() int {
	all := len(s.Vaults) + len(s.Away)
	if s.Durability <= 0 || s.Durability > all {
		return all
	}

	return s.Durability
}

// Short says that fewer vaults can be reached than the policy asks for: of what
// is written now nothing is durable before one is back. It is nil otherwise.
func (s Set) Short(op, subject string) error {
	if len(s.Vaults) >= s.Need() {
		return nil
	}

	return fail.New(fail.Unavailable, op, subject, awayHint,
		fmt.Errorf("the policy asks for %d vaults, and that of %s is out of reach: only %s can hold it", s.Need(), strings.Join(s.Away, " and "), s))
}

const awayHint = "bring the vault back; when it is lost for good, take its region out of stream.vaults, lower stream.durability, restart the workers and run drctl apply"

// Answering is the set without the vaults that do not answer a question within
// a few seconds: they are away. It fails when none answers.
func (s Set) Answering(ctx context.Context) (Set, error) {
	if err := s.check(); err != nil {
		return s, err
	}

	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	errs := make([]error, len(s.Vaults))

	var wg sync.WaitGroup
	for i, v := range s.Vaults {
		wg.Go(func() { _, errs[i] = v.store.Stat(ctx, descriptorKey) })
	}

	wg.Wait()

	out := Set{Durability: s.Need(), Away: slices.Clone(s.Away)}
	for i, v := range s.Vaults {
		if errs[i] == nil {
			out.Vaults = append(out.Vaults, v)
			continue
		}

		v.log.WarnContext(ctx, "the vault does not answer: it is left out", "err", errs[i])
		out.Away = append(out.Away, v.Region())
	}

	if len(out.Vaults) == 0 {
		return s, fail.New(fail.Unavailable, "vault: set", s.String(), "make a vault reachable", errors.Join(errs...))
	}

	return out, nil
}

// answerLimit is how long a vault may take to answer a question of a few bytes.
const answerLimit = 5 * time.Second

// check refuses a set that could never do what it promises.
func (s Set) check() error {
	if len(s.Vaults) == 0 {
		return fail.New(fail.Invalid, "vault: set", "", "name at least one vault", errors.New("no vaults"))
	}

	if s.Durability > len(s.Vaults)+len(s.Away) {
		return fail.Newf(fail.Invalid, "vault: set", s.String(), "durability %d with %d vaults", s.Durability, len(s.Vaults)+len(s.Away))
	}

	a := s.Vaults[0]
	for _, b := range s.Vaults[1:] {
		if err := sameSet(a, b); err != nil {
			return err
		}
	}

	return nil
}

func sameSet(a, b *Vault) error {
	if a.set != b.set || a.Recipient() != b.Recipient() {
		return fail.New(fail.Conflict, "vault: set", a.String()+" and "+b.String(),
			"init the vaults of one platform with the same key and the same set id",
			fmt.Errorf("they belong to different sets, %s and %s", a.set, b.set))
	}

	return nil
}

// String lists the regions.
func (s Set) String() string {
	names := make([]string, len(s.Vaults))
	for i, v := range s.Vaults {
		names[i] = v.Region()
	}

	return strings.Join(names, "+")
}

// Straggle is how long a vault may take longer than those that already did what
// the policy needs, such as making a write durable. Past it things go on without
// it. Archivers, snapshots and backups bring up what a vault has missed.
const Straggle = 3 * time.Second

// PutEncrypted encrypts content once and puts the same bytes into every vault in
// parallel. It returns how many hold them, and nil once Durability is reached:
// vaults that are still busy then get a few seconds more. A key that holds the
// same content already counts as done.
func (s Set) PutEncrypted(ctx context.Context, key string, meta map[string]string, content []byte) (done int, err error) {
	errs, err := s.PutEncryptedEach(ctx, key, meta, content)
	if err != nil {
		return 0, err
	}

	return s.durable(ctx, key, errs)
}

// PutEncryptedEach is PutEncrypted with the outcome per vault, in the order of
// Vaults. The second error is set when nothing was tried.
func (s Set) PutEncryptedEach(ctx context.Context, key string, meta map[string]string, content []byte) ([]error, error) {
	if err := s.check(); err != nil {
		return nil, err
	}

	encrypted, err := s.Vaults[0].Encrypt(key, meta, content)
	if err != nil {
		return nil, err
	}

	return s.Each(ctx, func(ctx context.Context, v *Vault) error {
		return v.putOrSame(ctx, key, meta, content, encrypted)
	}), nil
}

// Each runs f on every vault in parallel and waits for all, but for the
// stragglers only as long as Straggle once as many as the policy needs are done:
// their context ends then. It returns the outcome per vault, in the order of Vaults.
func (s Set) Each(ctx context.Context, f func(context.Context, *Vault) error) []error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(s.Vaults))
	var mu sync.Mutex
	var wg sync.WaitGroup
	done := 0

	var timer *time.Timer
	for i, v := range s.Vaults {
		wg.Go(func() {
			err := f(ctx, v)

			mu.Lock()
			defer mu.Unlock()

			if errs[i] = err; err == nil {
				if done++; done == s.Need() && timer == nil {
					timer = time.AfterFunc(Straggle, cancel)
				}
			}
		})
	}

	wg.Wait()

	if timer != nil {
		timer.Stop()
	}

	return errs
}

// durable counts what is done. An error of code conflict or corrupt is
// reported even when enough vaults are done: it will not heal by itself.
func (s Set) durable(ctx context.Context, what string, errs []error) (int, error) {
	done := 0

	var bad, fatal []error
	for i, err := range errs {
		if err == nil {
			done++
			continue
		}
		err = fmt.Errorf("vault %s: %w", s.Vaults[i].Region(), err)

		bad = append(bad, err)
		if fail.Is(err, fail.Conflict) || fail.Is(err, fail.Corrupt) {
			fatal = append(fatal, err)
		}
	}

	if len(fatal) > 0 {
		return done, errors.Join(fatal...)
	}

	if done < s.Need() && len(bad) == 0 {
		return done, s.Short("vault: write", what)
	}

	if done < s.Need() {
		return done, fail.New(fail.CodeOf(bad[0]), "vault: write", what, "",
			fmt.Errorf("durable in %d of the %d vaults that the policy asks for: %w", done, s.Need(), errors.Join(bad...)))
	}

	for i, err := range errs {
		if err != nil {
			s.Vaults[i].log.WarnContext(ctx, "vault is behind: the next backup brings it up", "key", what, "err", err)
		}
	}

	return done, nil
}

// Shard opens one shard's door to the vaults.
func (s Set) Shard(id targets.ShardID) *ShardVault { return &ShardVault{set: s, id: id} }

// Shard opens one shard's door to this vault alone.
func (v *Vault) Shard(id targets.ShardID) *ShardVault {
	return Set{Vaults: []*Vault{v}}.Shard(id)
}
