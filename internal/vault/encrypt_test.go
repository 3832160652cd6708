package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"drctl/internal/fail"
	"drctl/targets"
)

func TestEncryptRoundTrip(t *testing.T) {
	ctx := context.Background()

	v := fileVault(t, "east", testKey(t))
	for name, content := range map[string][]byte{
		"empty": nil, "one": {7}, "text": bytes.Repeat([]byte("drctl "), 100000), "noise": noise(300 << 10),
	} {
		meta := map[string]string{"from": "1", "note": "ü"}
		if err := v.PutEncrypted(ctx, "t/"+name, meta, content); err != nil {
			t.Fatal(err)
		}

		got, m, err := v.ReadEncrypted(ctx, "t/"+name)
		if err != nil || !bytes.Equal(got, content) || m["note"] != "ü" || len(m) != 2 {
			t.Fatalf("%s: %v %v", name, err, m)
		}

		if err := v.PutEncrypted(ctx, "t/"+name, meta, content); err != nil {
			t.Fatalf("%s: the same again: %v", name, err)
		}

		wantCode(t, v.PutEncrypted(ctx, "t/"+name, meta, append(content, 1)), fail.Conflict)
		wantCode(t, v.PutEncrypted(ctx, "t/"+name, nil, content), fail.Conflict)
	}
}

// TestDecryptByHand opens encrypted objects with the public tools.
func TestDecryptByHand(t *testing.T) {
	v := fileVault(t, "east", testKey(t))

	content := bytes.Repeat([]byte("by hand\n"), 9999)
	if err := v.PutEncrypted(context.Background(), "t/x.zst.age", nil, content); err != nil {
		t.Fatal(err)
	}

	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte("# a key file\n"+v.key.Secret().Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	out, err := exec.Command("sh", "-c", `age -d -i "$1" "$2" | zstd -dc`, "sh", keyFile, onDisk(v, "t/x.zst.age")).Output()
	if err != nil || !bytes.Equal(out, content) {
		t.Fatalf("%v: %d bytes", err, len(out))
	}
}

// TestEveryFlippedByteIsFound damages an encrypted object everywhere.
func TestEveryFlippedByteIsFound(t *testing.T) {
	v := fileVault(t, "east", testKey(t))
	content := noise(700)

	encrypted := must(v.Encrypt("k", map[string]string{"a": "b"}, content))
	for i := range encrypted {
		bad := bytes.Clone(encrypted)

		bad[i] ^= 0x10
		if err := decryptBytes(v, "k", bad); !fail.Is(err, fail.Corrupt) || !strings.Contains(err.Error(), "/k") {
			t.Fatalf("byte %d of %d: %v", i, len(encrypted), err)
		}
	}

	for i := range encrypted {
		if err := decryptBytes(v, "k", encrypted[:i]); !fail.Is(err, fail.Corrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}

	if err := decryptBytes(v, "k", append(bytes.Clone(encrypted), 0)); !fail.Is(err, fail.Corrupt) {
		t.Fatalf("a byte more: %v", err)
	}

	if err := decryptBytes(v, "k", encrypted); err != nil {
		t.Fatal(err)
	}

	wantCode(t, decryptBytes(v, "other", encrypted), fail.Corrupt, `"k"`, "copied or moved")
	wantCode(t, decryptBytes(fileVault(t, "west", testKey(t)), "k", encrypted), fail.Corrupt, "another key")
}

func decryptBytes(v *Vault, key string, b []byte) error {
	r, _, err := v.decryptFrom(key, io.NopCloser(bytes.NewReader(b)))
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)

	return err
}

// TestTransportErrorIsNoDamage: a broken connection must not be called corrupt.
func TestTransportErrorIsNoDamage(t *testing.T) {
	v := fileVault(t, "east", testKey(t))
	encrypted := must(v.Encrypt("k", nil, noise(200<<10)))

	r, _, err := v.decryptFrom("k", io.NopCloser(io.MultiReader(bytes.NewReader(encrypted[:90000]), brokenReader{})))
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}

	wantCode(t, err, fail.Unavailable, "connection reset")
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) {
	return 0, os.NewSyscallError("connection reset", io.ErrClosedPipe)
}

func TestKeys(t *testing.T) {
	k := testKey(t)
	text := k.Secret().Reveal()

	back := must(ParseKey(targets.NewSecret("# comment\n\n" + text + "\n")))
	if back.Recipient() != k.Recipient() || !strings.HasPrefix(k.String(), "age1") {
		t.Fatal("not the same key")
	}

	for _, bad := range []string{"", "# only", "nonsense", text[:20], text + "\n" + text, strings.ToLower(text[:30])} {
		_, err := ParseKey(targets.NewSecret(bad))
		wantCode(t, err, fail.Invalid)

		if len(bad) > 10 && strings.Contains(err.Error(), bad) {
			t.Fatal("the error repeats the secret")
		}
	}
}

func TestInitOpen(t *testing.T) {
	ctx := context.Background()
	for _, b := range backends(t) {
		t.Run(b.name, func(t *testing.T) {
			k := testKey(t)
			o := options(t, "east", b.loc("v"), k)
			_, err := Open(ctx, o)
			wantCode(t, err, fail.NotFound, "no vault here")

			v := must(Init(ctx, o))
			if _, err := Init(ctx, o); err != nil {
				t.Fatalf("repeating Init: %v", err)
			}
			o.Set = ""

			again := must(Open(ctx, o))
			if again.SetID() != v.SetID() || again.password.Reveal() != v.password.Reveal() || len(v.password.Reveal()) != 64 {
				t.Fatal("not the same vault")
			}

			region, set, recipient, err := Describe(ctx, o.Location)
			if err != nil || region != "east" || set != v.SetID() || recipient != k.Recipient() {
				t.Fatal(region, set, recipient, err)
			}
			other := o
			other.Key = testKey(t)
			_, err = Open(ctx, other)
			wantCode(t, err, fail.Denied, "wrong key", k.Recipient())
			_, err = Init(ctx, other)
			wantCode(t, err, fail.Conflict)
			other = o
			other.Region = "west"
			_, err = Open(ctx, other)
			wantCode(t, err, fail.Conflict, "east")
			_, err = Init(ctx, other)
			wantCode(t, err, fail.Conflict)

			s := must(OpenStore(ctx, b.loc("foreign")))
			if err := s.Put(ctx, "someone/elses", nil); err != nil {
				t.Fatal(err)
			}
			_, err = Init(ctx, options(t, "east", b.loc("foreign"), k))
			wantCode(t, err, fail.Conflict, "someone/elses")
		})
	}
}

// TestInitTogether: two processes make the same vault at once.
func TestInitTogether(t *testing.T) {
	k := testKey(t)
	o := options(t, "east", Location{URL: "file://" + t.TempDir() + "/v"}, k)
	o.Set = ""
	type result struct {
		v   *Vault
		err error
	}

	ch := make(chan result)
	for range 4 {
		go func() {
			v, err := Init(context.Background(), o)
			ch <- result{v, err}
		}()
	}

	ids := map[string]bool{}
	for range 4 {
		// A process that made up its own set id loses; none may get a broken vault.
		if r := <-ch; r.err == nil {
			ids[r.v.SetID()] = true
		} else {
			wantCode(t, r.err, fail.Conflict)
		}
	}

	if len(ids) != 1 {
		t.Fatalf("%d vaults in one place", len(ids))
	}

	if _, err := Open(context.Background(), o); err != nil {
		t.Fatal(err)
	}
}

// TestReplacedDescriptor: vault.json of another vault with the same key is found.
func TestReplacedDescriptor(t *testing.T) {
	k := testKey(t)
	v, w := fileVault(t, "east", k), fileVault(t, "east", k)
	o := options(t, "east", w.opt.Location, k)
	b := must(os.ReadFile(onDisk(v, descriptorKey)))
	overwrite(t, onDisk(w, descriptorKey), bytes.Replace(b, []byte(testSet), []byte("99999999-2222-3333-4444-555555555555"), 1))
	o.Set = ""
	_, err := Open(context.Background(), o)
	wantCode(t, err, fail.Corrupt, canaryKey)
}

func noise(n int) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(n))
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails

	return b
}
