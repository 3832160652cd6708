package pgbouncer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAddressInAFile(t *testing.T) {
	for _, c := range []struct{ name, text, address, want string }{
		{"alone", "shop = host=a port=1", "b:2", "shop = host=b port=2"},
		{"no port", "shop=host=a dbname=x\n", "b:2", "shop= host=b dbname=x port=2\n"},
		{"its section only", "[pgbouncer]\nshop = host=z\n[databases]\nshop = host=a port=1\r\n[users]\n", "b:2",
			"[pgbouncer]\nshop = host=z\n[databases]\nshop = host=b port=2\r\n[users]\n"},
		{"others stay", "x = host=a port=1\n; shop = host=q\n#shop = host=q\nshop = host = a port= 1\n\n*=host=c", "b:2",
			"x = host=a port=1\n; shop = host=q\n#shop = host=q\nshop = host=b port=2\n\n*=host=c"},
		{"quotes", `shop = password='a''b c' host=a connect_query=''`, "b:2", `shop = password='a''b c' host=b connect_query='' port=2`},
		{"IPv6", "shop = host=::1 port=1", "[::2]:2", "shop = host=::2 port=2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(file, []byte(c.text), 0o640); err != nil {
				t.Fatal(err)
			}

			for range 2 {
				if err := writeAddress("test", file, "shop", c.address); err != nil {
					t.Fatal(err)
				}
			}

			b, err := os.ReadFile(file)
			if err != nil || string(b) != c.want {
				t.Errorf("got %q, %v\nwant %q", b, err, c.want)
			}

			if got, err := fileAddress("test", file, "shop"); err != nil || got != c.address {
				t.Errorf("it leads to %q, %v", got, err)
			}
		})
	}
}

func TestFilesThatAreNotUnderstoodAreLeft(t *testing.T) {
	for _, text := range []string{"", "[databases]\nx = host=a\n", "shop = host=a\nshop = host=b\n", "shop = host=a secret-word\n", "shop = password='secret-word host=a\n"} {
		file := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}

		err := writeAddress("test", file, "shop", "b:2")
		if err == nil || strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%q: %v", text, err)
		}

		if b, _ := os.ReadFile(file); string(b) != text {
			t.Errorf("%q became %q", text, b)
		}
	}
}

func TestALinkStaysALink(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")

	if err := os.WriteFile(real, []byte("shop = host=a port=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}

	if err := writeAddress("test", link, "shop", "b:2"); err != nil {
		t.Fatal(err)
	}

	if b, _ := os.ReadFile(real); string(b) != "shop = host=b port=2\n" {
		t.Errorf("the file is %q", b)
	}
}

func TestHolesByVersion(t *testing.T) {
	for version, want := range map[string]int{"PgBouncer 1.18.0": 2, "PgBouncer 1.25.1": 2, "PgBouncer 1.25.2": 0, "PgBouncer 2.0.0": 0, "": 1} {
		if got := known("a:1", version); len(got) != want {
			t.Errorf("%q: %q", version, got)
		}
	}
}
