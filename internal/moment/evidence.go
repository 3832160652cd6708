package moment

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
	"drctl/internal/proof"
	"drctl/internal/vault"
	"drctl/targets"
)

const evidenceVersion = 1

// Evidence is the record of how a cut was read out of the logs: what Prove needs to do so
// again. Every text that is no UTF-8 is written as targets.GID writes it.
type Evidence struct {
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
}

// encode writes the record, with its SHA-256.
func (e *Evidence) encode() (content []byte, sum string, err error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")

	if err := enc.Encode(e); err != nil {
		return nil, "", fail.New(fail.Internal, "moment: evidence", e.Cut, "", err)
	}
	is := sha256.Sum256(b.Bytes())

	return b.Bytes(), hex.EncodeToString(is[:]), nil
}

// ReadEvidence reads the evidence of a cut, which must be the one that the cut names. A cut
// that was not read out of the logs has none: unsupported.
func ReadEvidence(ctx context.Context, v *vault.Vault, cut *targets.Cut) (*Evidence, error) {
	if cut.Proof == nil {
		return nil, fail.New(fail.Unsupported, opProve, cut.ID, "", fmt.Errorf("the cut was taken at a barrier, and not read out of the logs: it has no evidence"))
	}
	key := vault.EvidenceKey(cut.Group, cut.ID)

	content, _, err := v.ReadEncrypted(ctx, key)
	if err != nil {
		return nil, err
	}

	bad := func(err error) (*Evidence, error) {
		return nil, fail.New(fail.Corrupt, opProve, key, "repair it from another region's vault", err)
	}

	if is := sha256.Sum256(content); hex.EncodeToString(is[:]) != cut.Proof.Evidence {
		return bad(fmt.Errorf("it is not the evidence that the cut names"))
	}

	var e Evidence
	if err := json.Unmarshal(content, &e); err != nil {
		return bad(err)
	}

	switch {
	case e.Version != evidenceVersion:
		return nil, fail.New(fail.Unsupported, opProve, key, "use a later drctl", fmt.Errorf("version %d of the evidence is not known", e.Version))
	case e.Group != cut.Group || e.Cut != cut.ID:
		return bad(fmt.Errorf("it is the evidence of cut %.200q of group %.200q", e.Cut, e.Group))
	}
	e.Proof = decoded(e.Proof)

	return &e, nil
}

// text keeps every byte in something that JSON keeps.
func text(s string) string {
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

// coded is a claim of which every text survives, and decoded the inverse.
func coded(c proof.Cut) proof.Cut   { return texts(c, text) }
func decoded(c proof.Cut) proof.Cut { return texts(c, plain) }

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

	return c
}
