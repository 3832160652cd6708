package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"drctl/internal/fail"
	"drctl/targets"
)

// FormatVersion is the version of the layout that this program writes.
const FormatVersion = 1

// Options say which vault to make or open.
type Options struct {
	Region   string
	Location Location
	Key      Key
	// ResticBin is the path of restic 0.19.1 or later; needed for bases only.
	ResticBin string
	// Set is the id of the vault set; every region's vault of one platform has
	// the same. Init makes one when it is empty; Open checks it when it is not.
	Set string
	// CacheDir is for restic's cache of a remote repository; empty means none.
	CacheDir string
	// TempDir is for spooling objects over 8 MiB; empty means the system's.
	TempDir string
	// Now is the clock for names of manifests; nil means time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Vault is one region's vault. It is safe for concurrent use.
type Vault struct {
	opt      Options
	set      string
	store    Store
	created  time.Time
	key      Key
	password targets.Secret // restic
	log      *slog.Logger
}

// descriptor is vault.json.
type descriptor struct {
	Format    int       `json:"format"`
	Set       string    `json:"set"`
	Region    string    `json:"region"`
	Recipient string    `json:"recipient"`
	Created   time.Time `json:"created"`
}

// canary proves that a key opens the vault and that vault.json is the one
// written with it.
type canary struct {
	Set       string `json:"set"`
	Region    string `json:"region"`
	Recipient string `json:"recipient"`
}

func newVault(ctx context.Context, o Options) (*Vault, error) {
	if o.Key.IsZero() {
		return nil, fail.New(fail.Invalid, "vault: open", o.Location.URL, "give the vault's key", nil)
	}

	if err := ValidName(o.Region); err != nil {
		return nil, err
	}

	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}

	if o.Now == nil {
		o.Now = time.Now
	}

	s, err := OpenStore(ctx, o.Location)
	if err != nil {
		return nil, err
	}

	return &Vault{opt: o, set: o.Set, store: s, key: o.Key, log: o.Log.With("vault", o.Region)}, nil
}

// Init makes a vault in an empty location. It refuses to overwrite
// (fail.Conflict); repeating it with the same key, region and set is no error
// and finishes an interrupted Init.
func Init(ctx context.Context, o Options) (*Vault, error) {
	v, err := newVault(ctx, o)
	if err != nil {
		return nil, err
	}

	if err := v.init(ctx); err != nil {
		return nil, err
	}

	return v, nil
}

func (v *Vault) init(ctx context.Context) error {
	d, err := v.describe(ctx)
	switch {
	case fail.Is(err, fail.NotFound):
		// A bucket that does not exist is reported by the listing.
		if err := v.refuseForeign(ctx); err != nil {
			return err
		}

		if v.set == "" {
			v.set = uuid.NewString()
		}
		d = descriptor{FormatVersion, v.set, v.opt.Region, v.Recipient(), v.opt.Now().UTC().Truncate(time.Second)}

		js, _ := json.MarshalIndent(d, "", "  ")
		if err := v.store.Put(ctx, descriptorKey, append(js, '\n')); err != nil && !fail.Is(err, fail.Conflict) {
			return err
		}

		if d, err = v.describe(ctx); err != nil { // another Init may have won
			return err
		}
	case err != nil:
		return err
	}

	if d.Recipient != v.Recipient() || d.Region != v.opt.Region || v.set != "" && d.Set != v.set {
		return fail.New(fail.Conflict, "vault: init", v.store.URL(),
			"choose an empty location, or open this vault with its own key",
			fmt.Errorf("a vault of region %s, set %s, is there already", d.Region, d.Set))
	}
	v.set = d.Set

	c, _ := json.Marshal(canary{d.Set, d.Region, d.Recipient})
	if err := v.PutEncrypted(ctx, canaryKey, nil, c); err != nil {
		return err
	}

	if err := v.PutEncrypted(ctx, passwordKey, nil, []byte(v.key.resticPassword(d.Set).Reveal())); err != nil {
		return err
	}

	return v.unlock(ctx, d)
}

// refuseForeign fails when the location holds anything.
func (v *Vault) refuseForeign(ctx context.Context) error {
	for i, err := range v.store.List(ctx, "", "") {
		if err != nil {
			return err
		}

		if i.Key == descriptorKey {
			continue // made meanwhile by another Init
		}

		return fail.New(fail.Conflict, "vault: init", v.store.URL(), "choose an empty location",
			fmt.Errorf("not empty and not a vault: it holds %q", i.Key))
	}

	return nil
}

// Open opens a vault. A wrong key is fail.Denied and said plainly; a location
// without a vault is fail.NotFound.
func Open(ctx context.Context, o Options) (*Vault, error) {
	v, err := newVault(ctx, o)
	if err != nil {
		return nil, err
	}

	d, err := v.describe(ctx)
	if err != nil {
		return nil, err
	}

	if err := v.believe(ctx, d); err != nil {
		return nil, err
	}

	if d.Recipient != o.Key.Recipient() {
		return nil, fail.New(fail.Denied, "vault: open", v.store.URL(), "use the key that this vault was made with",
			fmt.Errorf("wrong key: the vault is encrypted to %s, the key given opens %s", d.Recipient, o.Key.Recipient()))
	}

	if d.Region != o.Region {
		return nil, fail.New(fail.Conflict, "vault: open", v.store.URL(), "correct the region or the location",
			fmt.Errorf("this is the vault of region %s, not of %s", d.Region, o.Region))
	}

	if o.Set != "" && d.Set != o.Set {
		return nil, fail.New(fail.Conflict, "vault: open", v.store.URL(), "",
			fmt.Errorf("this vault belongs to set %s, not to %s", d.Set, o.Set))
	}
	v.set = d.Set

	return v, v.unlock(ctx, d)
}

// ErrNoVault is in the error of a location that surely holds no vault. A
// bucket that does not exist, or that cannot be asked, is another error.
var ErrNoVault = errors.New("there is no vault here")

// Describe reads the region of the vault at a location, for a person who has
// nothing but the location.
func Describe(ctx context.Context, l Location) (region, set, recipient string, err error) {
	s, err := OpenStore(ctx, l)
	if err != nil {
		return "", "", "", err
	}
	d, err := (&Vault{store: s}).describe(ctx)

	return d.Region, d.Set, d.Recipient, err
}

func (v *Vault) describe(ctx context.Context) (descriptor, error) {
	var d descriptor
	b, err := get(ctx, v.store, descriptorKey)

	var missing *fail.Error
	if fail.Is(err, fail.NotFound) && errors.As(err, &missing) && missing.Hint == "" { // with a hint it is the bucket
		return d, fail.New(fail.NotFound, "vault: open", v.store.URL(), "check the location, or make a vault there with drctl vault init",
			ErrNoVault)
	}

	if err != nil {
		return d, err
	}

	if err = json.Unmarshal(b, &d); err == nil {
		err = d.check()
	}

	if err != nil {
		return d, fail.New(fail.Corrupt, "vault: open", v.store.URL()+"/"+descriptorKey, hintDescriptor, err)
	}

	if d.Format != FormatVersion {
		return d, fail.New(fail.Unsupported, "vault: open", v.store.URL(), "use a newer drctl",
			fmt.Errorf("format %d is not known to this program", d.Format))
	}

	return d, nil
}

const hintDescriptor = "restore the file from another copy of the vault"

// check reports what cannot be in vault.json. A recipient has a checksum of its own.
func (d descriptor) check() error {
	if err := errors.Join(ValidName(d.Set), ValidName(d.Region)); err != nil {
		return err
	}

	if _, err := age.ParseX25519Recipient(d.Recipient); err != nil {
		return fmt.Errorf("the recipient: %w", err)
	}

	if d.Format < 1 || d.Created.IsZero() {
		return errors.New("the format or the time of creation is missing")
	}

	return nil
}

// believe says whether vault.json, which nothing encrypts, may be believed where it
// is not what the caller expects. The encrypted canary, which holds the same, tells
// damage from a wrong key, region or set.
func (v *Vault) believe(ctx context.Context, d descriptor) error {
	if d.Recipient == v.Recipient() && d.Region == v.opt.Region && (v.set == "" || d.Set == v.set) {
		return nil // unlock compares
	}

	c, err := v.readCanary(ctx)
	if err != nil && d.Recipient == v.Recipient() {
		return err
	}

	if err != nil || c == (canary{d.Set, d.Region, d.Recipient}) {
		return nil // with another key the canary does not open
	}

	return fail.New(fail.Corrupt, "vault: open", v.store.URL()+"/"+descriptorKey, hintDescriptor,
		fmt.Errorf("it says region %s, set %s, recipient %s; the encrypted canary says %s, %s, %s", d.Region, d.Set, d.Recipient, c.Region, c.Set, c.Recipient))
}

func (v *Vault) readCanary(ctx context.Context) (c canary, err error) {
	b, _, err := v.ReadEncrypted(ctx, canaryKey)
	if err != nil {
		return c, err
	}

	if err := json.Unmarshal(b, &c); err != nil {
		return c, fail.New(fail.Corrupt, "vault: open", v.store.URL()+"/"+canaryKey, "restore it from another copy of the vault", err)
	}

	return c, nil
}

// unlock proves the key and takes the restic password.
func (v *Vault) unlock(ctx context.Context, d descriptor) error {
	password, err := v.prove(ctx, d)
	if err != nil {
		return err
	}
	v.password, v.created = password, d.Created

	return nil
}

// prove makes sure that vault.json, the canary and the restic password belong
// together and to the key. The password follows from the key: one that does not
// would let somebody else read what is backed up from now on.
func (v *Vault) prove(ctx context.Context, d descriptor) (password targets.Secret, err error) {
	c, err := v.readCanary(ctx)
	if err != nil {
		return password, err
	}

	if c != (canary{d.Set, d.Region, d.Recipient}) {
		return password, fail.New(fail.Corrupt, "vault: open", v.store.URL()+"/"+canaryKey, "vault.json or the canary was replaced; restore both from another copy", nil)
	}

	p, _, err := v.ReadEncrypted(ctx, passwordKey)
	if err != nil {
		return password, err
	}

	password = v.key.resticPassword(d.Set)
	if string(p) != password.Reveal() {
		return password, fail.New(fail.Corrupt, "vault: open", v.store.URL()+"/"+passwordKey, "restore it from another region's vault, and find out who wrote this one",
			errors.New("the stored restic password is not the one that follows from the key"))
	}

	return password, nil
}

// Region is the vault's region.
func (v *Vault) Region() string { return v.opt.Region }

// SetID names the set that the vault belongs to.
func (v *Vault) SetID() string { return v.set }

// Created is when the vault was made.
func (v *Vault) Created() time.Time { return v.created }

// Recipient is the public half of the vault's key.
func (v *Vault) Recipient() string { return v.key.Recipient() }

// Store is the store underneath.
func (v *Vault) Store() Store { return v.store }

// Key is the key that the vault was opened with.
func (v *Vault) Key() Key { return v.key }

// Answers reports whether a vault that was opened earlier is still there and
// still the same one: one small object is read.
func (v *Vault) Answers(ctx context.Context) error {
	d, err := v.describe(ctx)
	if err != nil {
		return err
	}

	if d.Set != v.set {
		return fail.New(fail.Conflict, "vault: open", v.store.URL(), "", fmt.Errorf("another vault has taken its place: it belongs to set %s, not to %s", d.Set, v.set))
	}

	return nil
}

// String names the vault without secrets.
func (v *Vault) String() string { return v.opt.Region + " (" + v.store.URL() + ")" }

// PutEncrypted encrypts content under key. A key that holds the same content and
// meta already is done; any other is fail.Conflict.
func (v *Vault) PutEncrypted(ctx context.Context, key string, meta map[string]string, content []byte) error {
	encrypted, err := v.Encrypt(key, meta, content)
	if err != nil {
		return err
	}

	return v.putOrSame(ctx, key, meta, content, encrypted)
}

// putOrSame stores encrypted bytes, or finds that the same content is there.
func (v *Vault) putOrSame(ctx context.Context, key string, meta map[string]string, content, encrypted []byte) error {
	err := v.store.Put(ctx, key, encrypted)
	if !fail.Is(err, fail.Conflict) {
		return err
	}

	r, m, rerr := v.Decrypt(ctx, key)
	if rerr != nil {
		return rerr
	}
	defer r.Close()

	if len(m) != len(meta) {
		return err
	}

	for k, x := range meta {
		if m[k] != x {
			return err
		}
	}

	same, rerr := equalContent(r, content)
	if rerr != nil {
		return rerr
	}

	if !same {
		return err
	}

	return nil
}

// equalContent reads r to its end and compares.
func equalContent(r io.Reader, want []byte) (bool, error) {
	buf := make([]byte, 64<<10)

	same := true
	for {
		n, err := r.Read(buf)
		if n > len(want) || !bytes.Equal(buf[:n], want[:min(n, len(want))]) {
			same = false
			want = nil
		} else {
			want = want[n:]
		}

		if err == io.EOF {
			return same && len(want) == 0, nil
		}

		if err != nil {
			return false, err
		}
	}
}
