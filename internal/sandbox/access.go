package sandbox

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"drctl/internal/fail"
	"drctl/targets"
)

// Access is how a restored instance in a sandbox is reached; it stays in a file
// that only its owner reads.
type Access struct {
	Kind     targets.Kind    `json:"kind"`
	Shard    targets.ShardID `json:"shard"`
	Address  string          `json:"address"`
	User     string          `json:"user"`
	Password string          `json:"password"`
	Database string          `json:"database"`
	DataDir  string          `json:"data_dir"`
}

const accessFile = "access.json"

// Instance is the restored instance.
func (a Access) Instance() targets.Instance {
	return targets.Instance{Kind: a.Kind, Shard: a.Shard, Region: "sandbox", Role: targets.Sandbox, Address: a.Address,
		User: a.User, Password: targets.NewSecret(a.Password), Database: a.Database, DataDir: a.DataDir}
}

// WriteAccess keeps in a restored shard's folder how it is reached.
func WriteAccess(dir string, a Access) error {
	p := filepath.Join(dir, accessFile)

	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fail.New(fail.Internal, "sandbox: remember", p, "", err)
	}

	if err := os.WriteFile(p, b, 0o600); err != nil {
		return fail.New(fail.Exhausted, "sandbox: remember", p, "", err)
	}

	return nil
}

// ReadAccess reads how the restored shard in a folder of a sandbox is reached.
func ReadAccess(dir string) (Access, error) {
	p := filepath.Join(dir, accessFile)

	b, err := os.ReadFile(p)
	if err != nil {
		code := fail.Internal
		if errors.Is(err, os.ErrNotExist) {
			code = fail.NotFound
		}

		return Access{}, fail.New(code, "sandbox: open", p, "the shard was not restored into this sandbox", err)
	}

	var a Access
	if err := json.Unmarshal(b, &a); err != nil {
		return Access{}, fail.New(fail.Corrupt, "sandbox: open", p, "", err)
	}

	return a, nil
}

// Accesses reads how each restored shard of the sandbox of a directory is
// reached, in the order of their names.
func Accesses(dir string) ([]Access, error) {
	if _, err := Open(dir); err != nil {
		return nil, err
	}

	es, err := os.ReadDir(dir)
	if err != nil {
		return nil, fail.FromOS("sandbox: look into", dir, err)
	}

	out := []Access{}
	for _, e := range es {
		if acc, err := ReadAccess(filepath.Join(dir, e.Name())); err == nil {
			out = append(out, acc)
		}
	}

	return out, nil
}

// Restored resolves a shard that was restored into the sandbox of a directory.
func Restored(dir string, id targets.ShardID) (targets.Instance, error) {
	a, err := ReadAccess(filepath.Join(dir, id.Target+"-"+id.Shard))
	if err != nil {
		return targets.Instance{}, err
	}

	return a.Instance(), nil
}
