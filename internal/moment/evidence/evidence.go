package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/internal/moment/logtail"
	"drctl/internal/proof"
	"drctl/internal/vault"
	"drctl/targets"
)

// version of the record.
const version = 1

const op = "moment: evidence"

// Record is how a cut was read out of the logs: what is needed to do so again. Stored, every
// text that is no UTF-8 is written as targets.GID writes it.
type Record struct {
	Version int    `json:"v"`
	Group   string `json:"group"`
	Cut     string `json:"cut"`
	Tool    string `json:"tool"`
	// Proof is the claim.
	Proof proof.Cut `json:"proof"`
	// What the platform declares, and whether that was decided by what the logs show.
	Modes []string `json:"modes"`
	Auto  bool     `json:"auto,omitempty"`
	Limit int64    `json:"limit_ns"`
	GIDs  string   `json:"gids,omitempty"`
	Drift int64    `json:"drift_ppm,omitempty"`
	// Since and Until enclose, by the wall clock, all batches of the observer that were looked at.
	Since   time.Time  `json:"since"`
	Until   time.Time  `json:"until"`
	Batches []BatchRef `json:"batches"`
	// Logs are the parts of the shards' logs that were read.
	Logs  []Log        `json:"logs"`
	Holds []proof.Hold `json:"holds,omitempty"`
	// Base is the cut that the list of broken global transactions goes on from.
	Base *Base `json:"base,omitempty"`
	// BrokenSince is when each of Proof.Broken was half done at the latest, by the wall clock of the observer that
	// saw it first.
	BrokenSince []time.Time `json:"broken_since,omitempty"`
	// Complete is since when that list is complete; zero: nothing is promised of it. Older counts those that
	// found no room in it.
	Complete time.Time `json:"broken_complete,omitzero"`
	Older    int       `json:"broken_older,omitempty"`
}

// BatchRef names a batch of observations and its content.
type BatchRef struct {
	Key    string `json:"key"`
	SHA256 string `json:"sha256"`
}

// Log says of which bytes, and by what was seen of which server, a stretch was made.
type Log struct {
	logtail.Span
	Server string `json:"server"`
}

// New is a record of what is given, of this version.
func New(r Record) Record {
	r.Version = version
	return r
}

// Encode writes the record, with its SHA-256.
func (r Record) Encode() (content []byte, sum string, err error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")

	r.Proof = texts(r.Proof, Text)
	if r.Base != nil {
		b := *r.Base
		b.Kept = kept(b.Kept, Text)
		r.Base = &b
	}

	if err := enc.Encode(r); err != nil {
		return nil, "", fail.New(fail.Internal, op, r.Cut, "", err)
	}
	is := sha256.Sum256(b.Bytes())

	return b.Bytes(), hex.EncodeToString(is[:]), nil
}

// Read reads the evidence of a cut, which must be the one that the cut names. A cut
// that was not read out of the logs has none: unsupported.
func Read(ctx context.Context, v *vault.Vault, cut *targets.Cut) (*Record, error) {
	if cut.Proof == nil {
		return nil, fail.New(fail.Unsupported, op, cut.ID, "", fmt.Errorf("the cut was taken at a barrier, and not read out of the logs: it has no evidence"))
	}
	key := vault.EvidenceKey(cut.Group, cut.ID)

	content, _, err := v.ReadEncrypted(ctx, key)
	if err != nil {
		return nil, err
	}

	bad := func(err error) (*Record, error) {
		return nil, fail.New(fail.Corrupt, op, key, "repair it from another region's vault", err)
	}

	if is := sha256.Sum256(content); hex.EncodeToString(is[:]) != cut.Proof.Evidence {
		return bad(fmt.Errorf("it is not the evidence that the cut names"))
	}

	r, err := decode(content)
	if err != nil {
		return bad(err)
	}

	switch {
	case r.Version != version:
		return nil, fail.New(fail.Unsupported, op, key, "use a later drctl", fmt.Errorf("version %d of the evidence is not known", r.Version))
	case r.Group != cut.Group || r.Cut != cut.ID:
		return bad(fmt.Errorf("it is the evidence of cut %.200q of group %.200q", r.Cut, r.Group))
	}

	return r, nil
}

func decode(content []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, err
	}

	r.Proof = texts(r.Proof, plain)
	if r.Base != nil {
		r.Base.Kept = kept(r.Base.Kept, plain)
	}

	return &r, nil
}

// Text keeps every byte in something that JSON keeps.
func Text(s string) string {
	b, _ := targets.GID(s).MarshalText()
	return string(b)
}

func plain(s string) string {
	var g targets.GID
	if err := g.UnmarshalText([]byte(s)); err != nil {
		return s // then it is not what was claimed
	}

	return string(g)
}

// texts is a claim of which every text that a platform made was changed.
func texts(c proof.Cut, f func(string) string) proof.Cut {
	c.InDoubt, c.Broken, c.Half = slices.Clone(c.InDoubt), slices.Clone(c.Broken), slices.Clone(c.Half)

	for i := range c.InDoubt {
		r := &c.InDoubt[i]
		r.GID, r.Group = f(r.GID), f(r.Group)
	}

	for _, half := range [][]proof.HalfDone{c.Broken, c.Half} {
		for i := range half {
			half[i].ID = f(half[i].ID)
		}
	}
	c.Kept = kept(c.Kept, f)

	return c
}

func kept(all []proof.Kept, f func(string) string) []proof.Kept {
	all = slices.Clone(all)
	for i := range all {
		k := &all[i]
		k.ID, k.Records = f(k.ID), slices.Clone(k.Records)

		for j := range k.Records {
			r := &k.Records[j]
			r.GID, r.Tags = f(r.GID), slices.Clone(r.Tags)

			for n := range r.Tags {
				r.Tags[n] = f(r.Tags[n])
			}
		}
	}

	return all
}
