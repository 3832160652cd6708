package vault

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// handFunctions are the shell functions of docs/vault-format.md.
func handFunctions(t *testing.T) string {
	t.Helper()
	doc := string(must(os.ReadFile("../../docs/vault-format.md")))

	_, rest, ok := strings.Cut(doc, "```sh\n")
	if !ok {
		t.Fatal("the page has no sh block")
	}
	body, _, _ := strings.Cut(rest, "```")

	return body
}

func byHand(t *testing.T, v *Vault, dir, script string) []byte {
	t.Helper()

	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(v.key.Secret().Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-eu", "-c", handFunctions(t)+script)
	cmd.Env = []string{"PATH=" + filepath.Dir(sandboxtest.Tools(t).ResticBin) + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "V=" + dir, "KEY=" + keyFile}

	out, err := cmd.Output()
	if err != nil {
		var text []byte
		if e, ok := err.(*exec.ExitError); ok {
			text = e.Stderr
		}

		t.Fatalf("%v\n%s\n%s", err, text, script)
	}

	return out
}

// TestByHand follows the page's functions on a vault of each kind; one in a
// bucket is copied out with a plain S3 client first.
func TestByHand(t *testing.T) {
	t.Parallel()

	ctx := context.Background()
	for _, b := range backends(t) {
		t.Run(b.name, func(t *testing.T) {
			v := initVault(t, "east", b.loc("hand"), testKey(t))
			a, cut := whole(t, Set{Vaults: []*Vault{v}})

			dir := filepath.Join(t.TempDir(), "vault")
			for _, key := range keysOf(t, v.store, "") {
				p := filepath.Join(dir, key)
				if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
					t.Fatal(err)
				}
				r := must(v.store.Get(ctx, key))
				overwrite(t, p, must(io.ReadAll(r)))
				r.Close()
			}
			chunk := noise(1000)

			want := append(bytes.Clone(chunk[10:]), append(bytes.Clone(chunk), chunk[:5]...)...)
			if got := byHand(t, v, dir, "log_bytes orders/1 "+testTimeline+" 1010 3005"); !bytes.Equal(got, want) {
				t.Fatalf("%d bytes of log", len(got))
			}

			if got := byHand(t, v, dir, "if log_bytes orders/1 "+testTimeline+" 5000 6001 2>/dev/null >/dev/null; then echo whole; else echo hole; fi"); string(got) != "hole\n" {
				t.Fatalf("%q", got)
			}
			out := filepath.Join(t.TempDir(), "out")
			byHand(t, v, dir, fmt.Sprintf("repository orders/1; restic --no-lock --no-cache restore %q --target %q >/dev/null", a.Snapshot+":"+a.Path, out))

			if got := must(os.ReadFile(out + "/base/1/200")); string(got) != someFiles["base/1/200"] {
				t.Fatal("restored file")
			}
			point, _ := cut.Point(media)

			got := byHand(t, v, dir, fmt.Sprintf(`decrypt "$V/objects/media/main/manifests/"*-%s.zst.age | jq -r .sha256 | while read -r sha; do
decrypt "$V/objects/media/main/data/$(printf %%.2s "$sha")/$sha.zst.age" | sha256sum; echo "$sha  -"; done | uniq | wc -l`, point.Position.Manifest))
			if strings.TrimSpace(string(got)) != "5" {
				t.Fatalf("objects: %s", got)
			}

			if got := byHand(t, v, dir, fmt.Sprintf(`decrypt "$V/cuts/shop/%s.json.zst.age" | jq -r .id`, cut.ID)); strings.TrimSpace(string(got)) != cut.ID {
				t.Fatalf("%q", got)
			}
		})
	}
}

// TestSegmentsByHand lays a log out as WAL files by the page's function.
func TestSegmentsByHand(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	const size = 1 << 20
	start := uint64(0x4_FFE0_0000) // across the 4 GiB where the middle part of names changes
	log := noise(3*size + 12345)

	timeline := targets.PostgresTimeline("7310001", 10)
	for at := 0; at < len(log); at += 700001 {
		to := min(at+700001, len(log))

		from := max(0, at-100*(at%3)) // some overlap
		if err := v.PutEncrypted(ctx, ChunkKey(shardA, timeline, start+uint64(from), start+uint64(to), time.Now()), nil, log[from:to]); err != nil {
			t.Fatal(err)
		}
	}
	wal := t.TempDir()
	byHand(t, v, v.store.(*fileStore).root, fmt.Sprintf("wal_segments orders/1 %s %d %d %q %d", timeline, start, start+uint64(len(log)), wal, size))

	var all []byte
	for i, name := range []string{"0000000A0000000400000FFE", "0000000A0000000400000FFF", "0000000A0000000500000000", "0000000A0000000500000001"} {
		b := must(os.ReadFile(filepath.Join(wal, name)))
		if len(b) != size {
			t.Fatalf("segment %d has %d bytes", i, len(b))
		}
		all = append(all, b...)
	}

	if !bytes.Equal(all[:len(log)], log) || len(must(os.ReadDir(wal))) != 4 {
		t.Fatal("content differs")
	}
}
