package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/klauspost/compress/zstd"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// plant writes a record as somebody does who can write to the vault and knows
// its public recipient: encrypted for its key, whatever it says.
func plant(t testing.TB, v *Vault, key string, record any) {
	t.Helper()

	body, err := json.Marshal(record)
	if err == nil {
		err = v.PutEncrypted(context.Background(), key, nil, body)
	}

	if err != nil {
		t.Fatal(err)
	}
}

// TestPlantedBase: what a record in a vault says does not become an option of
// a program. The record is named as damage, by the listing and by the check,
// and the bases beside it stay in use.
func TestPlantedBase(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	good := saveBase(t, Set{Vaults: []*Vault{v}}, "b1", tree(t, someFiles))
	ran := filepath.Join(t.TempDir(), "ran")
	option := "--password-command=touch " + ran

	forged := good
	forged.ID, forged.Snapshot, forged.Path = "b2", option, ""
	key := BaseRecordKey(shardA, forged.ID)
	plant(t, v, key, forged)

	// Whoever passes it on all the same gets no further than the program's door.
	door := v.Shard(shardA)
	for path, p := range map[string]string{"as a snapshot": option, "as a path": "--help"} {
		a := forged
		a.Path = p
		wantCode(t, door.RestoreTree(ctx, a, filepath.Join(t.TempDir(), "out"), false, nil), fail.Corrupt, "password-command")

		if r, err := door.OpenStream(ctx, a); !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s: %v, %v", path, r, err)
		}
	}

	bases, err := v.Bases(ctx, shardA)
	wantCode(t, err, fail.Corrupt, key, "snapshot")

	if len(bases) != 1 || bases[0].ID != good.ID {
		t.Errorf("the bases are %+v", bases)
	}

	findings, err := v.Verify(ctx, VerifyOptions{Shards: []targets.ShardID{shardA}})
	if err != nil {
		t.Errorf("the check ended: %v", err)
	}

	named := false
	for _, f := range findings {
		named = named || f.Severity == targets.Failed && f.Check == CheckBases && strings.Contains(f.Subject, key)
	}

	if !named {
		t.Errorf("the check does not name the record: %+v", findings)
	}

	if made, _ := filepath.Glob(ran + "*"); len(made) > 0 {
		t.Errorf("the command in the record was run: %v", made)
	}
}

// TestRecordsAreChecked: every value of a record has a form.
func TestRecordsAreChecked(t *testing.T) {
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))

	saved := targets.Saved{Snapshot: strings.Repeat("a", 64), Path: "/data"}
	for name, spoil := range map[string]func(a *targets.Artifact){
		"short snapshot":     func(a *targets.Artifact) { a.Snapshot = "aaaa" },
		"relative path":      func(a *targets.Artifact) { a.Path = "data" },
		"unclean path":       func(a *targets.Artifact) { a.Path = "/data/../etc" },
		"region":             func(a *targets.Artifact) { a.Region = "../west" },
		"kind":               func(a *targets.Artifact) { a.Kind = "mysql" },
		"method":             func(a *targets.Artifact) { a.Method = "--wire" },
		"future":             func(a *targets.Artifact) { a.Finished = time.Now().AddDate(900, 0, 0) },
		"size":               func(a *targets.Artifact) { a.Bytes = 1 << 62 },
		"negative size":      func(a *targets.Artifact) { a.Bytes = -1 },
		"timeline":           func(a *targets.Artifact) { a.From.Timeline, a.Until.Timeline = "-1-00000001", "-1-00000001" },
		"offset":             func(a *targets.Artifact) { a.Until.Offset = 1 << 63 },
		"backwards":          func(a *targets.Artifact) { a.From.Offset = a.Until.Offset + 1 },
		"restore point":      func(a *targets.Artifact) { a.Until.RestorePoint = "drctl:x'\nfsync = off" },
		"file name":          func(a *targets.Artifact) { a.Files = map[string]string{"../x": strings.Repeat("0", 64)} },
		"file sum":           func(a *targets.Artifact) { a.Files = map[string]string{"x": "0"} },
		"setting's name":     func(a *targets.Artifact) { a.Settings = map[string]string{"a\nb": "1"} },
		"setting's line":     func(a *targets.Artifact) { a.Settings = map[string]string{"lc_ctype": "C\nfsync = off"} },
		"setting's NUL":      func(a *targets.Artifact) { a.Settings = map[string]string{"lc_ctype": "C\x00"} },
		"setting's number":   func(a *targets.Artifact) { a.Settings = map[string]string{"max_connections": "1 include x"} },
		"tablespace":         func(a *targets.Artifact) { a.Tablespaces = map[string]string{"1": "/x=--help:/y"} },
		"tablespace's oid":   func(a *targets.Artifact) { a.Tablespaces = map[string]string{"../1": "/x=" + saved.Snapshot + ":/y"} },
		"tablespace's place": func(a *targets.Artifact) { a.Tablespaces = map[string]string{"1": "x=" + saved.Snapshot + ":/y"} },
	} {
		t.Run(name, func(t *testing.T) {
			a := testBase("b", 16, saved)
			if err := a.Check(time.Now()); err != nil {
				t.Fatalf("before: %v", err)
			}

			spoil(&a)
			a.ID = strings.NewReplacer(" ", "-", "'", "").Replace(name)
			plant(t, v, BaseRecordKey(shardA, a.ID), a)
			_, err := v.Base(ctx, shardA, a.ID)
			wantCode(t, err, fail.Corrupt, a.ID)
			_, err = (Set{Vaults: []*Vault{v}}).SaveBase(ctx, a)
			wantCode(t, err, fail.Invalid)
		})
	}
	now := time.Now().UTC()

	point := targets.ShardPoint{Shard: shardA, Kind: targets.Postgres, Region: "east", Position: targets.Position{Kind: targets.Postgres, Timeline: testTimeline, Offset: 1}}
	for name, spoil := range map[string]func(c *targets.Cut){
		"shard":    func(c *targets.Cut) { c.Shards[0].Shard.Shard = "../0" },
		"twice":    func(c *targets.Cut) { c.Shards = append(c.Shards, c.Shards[0]) },
		"kind":     func(c *targets.Cut) { c.Shards[0].Kind = targets.Redis },
		"region":   func(c *targets.Cut) { c.Shards[0].Region = "" },
		"address":  func(c *targets.Cut) { c.Shards[0].Instance = "x\x1b[2J" },
		"timeline": func(c *targets.Cut) { c.Shards[0].Position.Timeline = "L" },
		"manifest": func(c *targets.Cut) { c.Shards[0].Position.Manifest = "x" },
		"vaults":   func(c *targets.Cut) { c.SealedIn = []string{"a b"} },
		"future":   func(c *targets.Cut) { c.QuiescedAt = now.Add(time.Hour) },
	} {
		t.Run("cut: "+name, func(t *testing.T) {
			c := targets.Cut{ID: name, Group: "shop", QuiescedAt: now, SealedAt: now, Shards: []targets.ShardPoint{point}}
			if err := c.Check(time.Now()); err != nil {
				t.Fatalf("before: %v", err)
			}

			spoil(&c)
			plant(t, v, CutKey("shop", name), c)
			_, err := v.Cut(ctx, "shop", name)
			wantCode(t, err, fail.Corrupt, name)
			_, err = (Set{Vaults: []*Vault{v}}).SaveCut(ctx, c)
			wantCode(t, err, fail.Invalid)
		})
	}
}

// TestWritesCarryAChecksum: a bucket with object lock takes what is written, and
// what is changed on the way is refused, behind TLS too, where the signature
// says nothing of the content.
func TestWritesCarryAChecksum(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	in := sandboxtest.S3(t, true)
	large := filepath.Join(t.TempDir(), "large")
	overwrite(t, large, noise(singlePut+partSize/2))
	small := filepath.Join(t.TempDir(), "small")
	overwrite(t, small, noise(1000))

	for name, secure := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			front := sandboxtest.NewLockFront(t, in, secure)
			behind := in
			behind.Address = front.URL
			o := options(t, "east", s3Location(behind, name), testKey(t))
			v := must(newVault(ctx, o))
			st := v.store.(*s3Store)
			trusting := st.c.Options()
			trusting.HTTPClient = front.Client()
			st.c = s3.New(trusting)

			if err := v.init(ctx); err != nil {
				t.Fatal(err)
			}

			if err := v.PutEncrypted(ctx, CutKey("shop", "c"), nil, []byte("{}")); err != nil {
				t.Fatal(err)
			}

			for key, file := range map[string]string{"objects/small": small, "objects/large": large} {
				if err := st.PutFile(ctx, key, file); err != nil {
					t.Fatal(err)
				}

				r := must(st.Get(ctx, key))
				if got := must(io.ReadAll(r)); !bytes.Equal(got, must(os.ReadFile(file))) {
					t.Errorf("%s came back otherwise", key)
				}

				r.Close()
			}

			if n := front.Writes.Load(); n != 3+1+1+2 { // vault.json, canary and password, a cut, a file, two parts
				t.Errorf("%d writes came through the front", n)
			}

			front.Spoil.Store(true)

			for key, file := range map[string]string{"objects/small2": small, "objects/large2": large} {
				if err := st.PutFile(ctx, key, file); err == nil {
					t.Errorf("%s was stored although it had been changed on the way", key)
				}
			}

			if err := st.Put(ctx, "objects/x", []byte("content")); err == nil {
				t.Error("content was stored although it had been changed on the way")
			}
		})
	}
}

// TestVerifyReadsTheKeys: the check of one group, as it is scheduled, reads what
// belongs to all of them too.
func TestVerifyReadsTheKeys(t *testing.T) {
	ctx := context.Background()
	good := fileVault(t, "east", testKey(t))
	set := Set{Vaults: []*Vault{good}}
	plant(t, good, seedKey(shardA), "the beginning of a repository")
	must(set.SaveReport(ctx, "check", "r1", "sound"))

	o := VerifyOptions{Groups: []string{"shop"}}
	if fs := must(good.Verify(ctx, o)); Damaged(fs) {
		t.Fatalf("a sound vault: %+v", fs)
	}

	for _, key := range []string{canaryKey, passwordKey, seedKey(shardA), ReportKey("check", "r1"), descriptorKey} {
		v := copyVault(t, good)
		flip(t, onDisk(v, key), -30)

		fs, err := v.Verify(ctx, o)
		if err != nil {
			t.Errorf("%s: %v", key, err)
		}

		named := false
		for _, f := range fs {
			named = named || f.Severity == targets.Failed && strings.Contains(f.Subject+f.Detail, key)
		}

		if !named {
			t.Errorf("a flipped byte in %s is not found: %+v", key, fs)
		}
	}
}

// TestDamagedDescription: a byte of vault.json that has changed is damage, and
// is never taken for a wrong key or for another vault.
func TestDamagedDescription(t *testing.T) {
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	file := onDisk(v, descriptorKey)
	whole := must(os.ReadFile(file))

	found := 0
	for i := range whole {
		overwrite(t, file, whole)
		flip(t, file, i)

		switch _, err := Open(ctx, v.opt); {
		case fail.Is(err, fail.Corrupt):
			found++

			if fail.ExitCode(err) != 4 || !strings.Contains(err.Error(), "vault.json") {
				t.Errorf("byte %d: %v", i, err)
			}
		case err == nil: // white space, a letter's case, a second of the time of creation
		case fail.Is(err, fail.Unsupported): // the format says another number
		default:
			t.Errorf("byte %d (%q): %v", i, whole[i], err)
		}
	}

	if found < len(whole)/2 {
		t.Errorf("%d of %d changes were found", found, len(whole))
	}

	overwrite(t, file, whole)
	other := v.opt
	other.Key = testKey(t)
	_, err := Open(ctx, other)
	wantCode(t, err, fail.Denied, "wrong key")
	other = v.opt
	other.Region = "west"
	_, err = Open(ctx, other)
	wantCode(t, err, fail.Conflict, "east")
}

// TestForeignResticPassword: who can write to a vault cannot choose the password
// under which the next base is encrypted.
func TestForeignResticPassword(t *testing.T) {
	ctx := context.Background()

	v := fileVault(t, "east", testKey(t))
	if err := v.store.Delete(ctx, passwordKey); err != nil {
		t.Fatal(err)
	}

	if err := v.PutEncrypted(ctx, passwordKey, nil, []byte("chosen by somebody else")); err != nil {
		t.Fatal(err)
	}
	_, err := Open(ctx, v.opt)
	wantCode(t, err, fail.Corrupt, passwordKey)
}

// TestBombs: what is small in the store and large when it is opened takes
// bounded memory, is named, and hides nothing beside it.
func TestBombs(t *testing.T) {
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	now := time.Now().UTC()
	encryptInto := func(key string, content io.Reader) {
		t.Helper()

		var b bytes.Buffer
		if err := v.EncryptTo(&b, key, nil, content); err != nil {
			t.Fatal(err)
		}

		if err := v.store.Put(ctx, key, b.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	good := targets.Cut{ID: "c1", Group: "shop", QuiescedAt: now, SealedAt: now, Shards: []targets.ShardPoint{
		{Shard: shardA, Kind: targets.Postgres, Region: "east", Position: targets.Position{Kind: targets.Postgres, Timeline: testTimeline, Offset: 1}}}}
	must((Set{Vaults: []*Vault{v}}).SaveCut(ctx, good))
	bomb, short, odd := CutKey("shop", "c2"), CutKey("shop", "c3"), CutKey("shop", "c4")
	encryptInto(bomb, io.LimitReader(spaces{}, 512<<20))
	encryptInto(short, strings.NewReader(`{"id":"c3","group":"shop"`))
	c := good
	c.ID, c.Shards = "c4", []targets.ShardPoint{good.Shards[0]}
	c.Shards[0].Shard.Shard = "-x"
	plant(t, v, odd, c)

	var cuts []targets.Cut
	var err error
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cuts, err = v.Cuts(ctx, "shop")

	runtime.ReadMemStats(&after)

	if took := after.TotalAlloc - before.TotalAlloc; took > 200<<20 {
		t.Errorf("%d MiB of memory", took>>20)
	}

	wantCode(t, err, fail.Corrupt, bomb, short, odd)

	if len(cuts) != 1 || cuts[0].ID != "c1" {
		t.Errorf("%+v", cuts)
	}
	// Retention must not decide on half of what there is.
	_, err = v.Inventory(ctx, []string{"shop"})
	wantCode(t, err, fail.Corrupt, bomb)

	// An envelope without end, and a frame that asks for a large window.
	endless := CutKey("bad", "e")
	if err := v.store.Put(ctx, endless, append([]byte("age-encryption.org/v1\n"), bytes.Repeat([]byte("-> x\n\n"), 1<<20)...)); err != nil {
		t.Fatal(err)
	}
	_, err = v.Cut(ctx, "bad", "e")
	wantCode(t, err, fail.Corrupt, endless)
	wide := CutKey("bad", "w")
	var b bytes.Buffer
	aw := must(age.Encrypt(&b, v.key.id.Recipient()))
	enc := must(zstd.NewWriter(aw, zstd.WithWindowSize(64<<20)))
	must(aw.Write(must(encodeHeader(wide, nil))))
	must(io.Copy(enc, io.LimitReader(spaces{}, 65<<20)))

	if err := errors.Join(enc.Close(), aw.Close(), v.store.Put(ctx, wide, b.Bytes())); err != nil {
		t.Fatal(err)
	}
	_, err = v.Cut(ctx, "bad", "w")
	wantCode(t, err, fail.Corrupt, wide, "window")
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}

	return len(p), nil
}

// TestOddNamesAreLeftAlone: files and folders that cannot be drctl's, as a file
// system or a person leaves them, end neither a listing nor a check.
func TestOddNamesAreLeftAlone(t *testing.T) {
	ctx := context.Background()

	v := fileVault(t, "east", testKey(t))
	for _, name := range []string{"streams/or ders/1/L/x", "streams/orders/-x/y", "streams/orders/1/L M/origin.zst.age", "cuts/a b/c.json.zst.age", "bases/orders/1/b c/record.json.zst.age"} {
		file := filepath.Join(v.store.(*fileStore).root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}

		overwrite(t, file, []byte("x"))
	}

	if s := must(v.Shards(ctx)); len(s) != 1 || s[0] != shardA {
		t.Errorf("shards %v", s)
	}

	if g := must(v.Groups(ctx)); len(g) != 0 {
		t.Errorf("groups %v", g)
	}

	if fs := must(v.Verify(ctx, VerifyOptions{})); Damaged(fs) {
		t.Errorf("%+v", fs)
	}
}
