package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
)

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}

		return p
	}

	c := &Config{source: source{env: func(k string) (string, bool) { return "hunter2", k == "SET" }}}
	for name, tc := range map[string]struct {
		ref  Ref
		want string
		code fail.Code
	}{
		"env":            {Ref{Env: "SET"}, "hunter2", ""},
		"env unset":      {Ref{Env: "UNSET"}, "", fail.NotFound},
		"file":           {Ref{File: write("a", "hunter2\r\n")}, "hunter2", ""},
		"file, lines":    {Ref{File: write("b", "# remark\nkey\n")}, "# remark\nkey", ""},
		"file absent":    {Ref{File: dir + "/absent"}, "", fail.NotFound},
		"file empty":     {Ref{File: write("c", "\n")}, "", fail.Invalid},
		"file large":     {Ref{File: write("d", strings.Repeat("x", 64<<10+1))}, "", fail.Invalid},
		"a directory":    {Ref{File: dir}, "", fail.Invalid},
		"zero byte":      {Ref{File: write("e", "a\x00b")}, "", fail.Invalid},
		"command":        {Ref{Command: []string{"printf", "%s\n", "hunter2"}}, "hunter2", ""},
		"command fails":  {Ref{Command: []string{"sh", "-c", "echo hunter2 >&2; exit 3"}}, "", fail.Unavailable},
		"command absent": {Ref{Command: []string{"no-such-program-of-drctl"}}, "", fail.NotFound},
		"command large":  {Ref{Command: []string{"head", "-c", "100000", "/dev/zero"}}, "", fail.Invalid},
		"none":           {Ref{}, "", fail.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := c.Secret(context.Background(), tc.ref)
			if fail.CodeOf(err) != tc.code || s.Reveal() != tc.want {
				t.Fatalf("%q, %v", s.Reveal(), err)
			}

			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("the error leaks: %v", err)
			}
		})
	}
}

func TestSecretCommandIsCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()

	_, err := (&Config{}).Secret(ctx, Ref{Command: []string{"sleep", "60"}})
	if !fail.Is(err, fail.Unavailable) || time.Since(begin) > 50*time.Second {
		t.Fatalf("%v after %s", err, time.Since(begin))
	}
}

// TestWrongSecretsAreNotRepeated: a secret in the wrong place is refused
// without being printed.
func TestWrongSecretsAreNotRepeated(t *testing.T) {
	for _, bad := range []string{"hunter2", "{env: hunter2!}", "{file: hunter2}", "[hunter2]", "{env: [hunter2]}", "\"hunter2\\0\"", "{command: hunter2}"} {
		_, err := Parse([]byte(strings.Replace(minimal, "{env: KEY}", bad, 1)), "bad.yaml")
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestShowRedacts(t *testing.T) {
	c, err := Parse([]byte(strings.Replace(minimal, "{env: KEY}", "{command: [get, --token, hunter2]}", 1)), "x.yaml")
	if err != nil {
		t.Fatal(err)
	}

	shown, err := c.Show()
	if err != nil || strings.Contains(string(shown), "hunter2") || !strings.Contains(string(shown), "get") {
		t.Errorf("%v\n%s", err, shown)
	}
}

// open makes a directory that everybody may enter.
func open(t *testing.T) string {
	t.Helper()

	dir, err := os.MkdirTemp("", "drctl-config-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}

	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = os.RemoveAll(dir) })

	return dir
}

// A file that many references name is warned of once, and not at all where its
// directory keeps everybody out.
func TestSecretFileReadByEverybodyIsSaidOnce(t *testing.T) {
	dir := open(t)

	key := filepath.Join(dir, "secret.txt")
	if err := os.WriteFile(key, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(minimal, "{env: KEY}", fmt.Sprintf("{file: %q}", key), 1)
	text = strings.Replace(text, "targets:\n", fmt.Sprintf("targets:\n  carts: {kind: redis, password: {file: %q}, shards: {\"0\": {east: {address: \"127.0.0.1:6379\", role: primary}}}}\n", key), 1)

	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	said := func() (n int) {
		t.Helper()

		c, err := Load(path, nil)
		if err != nil {
			t.Fatal(err)
		}

		for _, w := range c.Warnings() {
			if strings.Contains(w.String(), "can be read by everybody") {
				n++
			}
		}

		return n
	}
	if n := said(); n != 1 {
		t.Errorf("it is said %d times", n)
	}

	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}

	if n := said(); n != 0 {
		t.Errorf("it is said %d times of a directory that nobody else may enter", n)
	}
}

func TestWarnings(t *testing.T) {
	dir := open(t)

	key := filepath.Join(dir, "key.txt")
	if err := os.WriteFile(key, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(minimal, "{env: KEY}", fmt.Sprintf("{file: %q}", key), 1)
	text = strings.Replace(text, "targets:\n", "targets:\n  carts: {kind: redis, shards: {\"0\": {east: {address: \"127.0.0.1:6379\", role: primary}}}}\n", 1)
	text += "policies: {standard: {stream: {vaults: [east], durability: 1}}}\n"

	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	c, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}

	var all string
	for _, w := range c.Warnings() {
		all += strings.TrimPrefix(w.String(), dir+"/") + "\n"
	}

	for _, want := range []string{
		"c.yaml:3:6: key: the secret file " + key + " can be read by everybody (chmod 600 " + key + ")",
		"c.yaml:8:10: targets.carts: target carts is in no group and is not protected",
		"groups.shop.policy: policy standard keeps everything in east",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning %q in\n%s", want, all)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "absent.yaml"), nil); !fail.Is(err, fail.Invalid) || !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
