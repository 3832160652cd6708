package scan

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func encode(args ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(args))

	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}

	return b.Bytes()
}

func cmd(args ...string) string { return string(encode(args...)) }

func TestScannerFindsPlacesToCut(t *testing.T) {
	sel, set, ping := cmd("SELECT", "0"), cmd("SET", "k", "*1\r\n$4\r\nEXEC\r\n"), cmd("PING")
	multi, exec, empty := cmd("MULTI"), cmd("exec"), cmd("SET", "", "")
	whole := sel + set + ping + multi + set + set + exec + empty
	var s Scanner
	inside := false
	safe := map[int]bool{}

	at := 0
	for _, c := range []string{sel, set, ping, multi, set, set, exec, empty} {
		at += len(c)
		if c == multi {
			inside = true
		}

		if c == exec {
			inside = false
		}

		if !inside {
			safe[at] = true
		}
	}

	want := uint64(0)
	for i := range len(whole) {
		if _, err := s.Write([]byte{whole[i]}); err != nil {
			t.Fatal(err)
		}

		if safe[i+1] {
			want = uint64(i + 1)
		}

		if s.Safe != want {
			t.Fatalf("after %d bytes: safe %d, want %d", i+1, s.Safe, want)
		}
	}

	if s.Commands != 8 {
		t.Fatalf("%d commands", s.Commands)
	}
}

func TestScannerRefuses(t *testing.T) {
	for _, bad := range []string{"x", "*\r\n", "*0\r\n", "*-1\r\n", "*1\r\nx", "*1\r\n$-1\r\n", "*1\r\n$3\r\nabcd\r", "*1\r\n$3\r\nabc\rx",
		"*1\rx", "*1\r\n$1x", "*99999999999999999999\r\n", "*1\r\n$9999999999999\r\n", "\n", "PING\r\n"} {
		var s Scanner
		if _, err := s.Write([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// How the stream is cut into writes does not matter.
func TestScannerIgnoresSplits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		for range rapid.IntRange(1, 20).Draw(t, "commands") {
			args := []string{rapid.SampledFrom([]string{"SET", "MULTI", "EXEC", "PING", "multi", "discard", "MULTIPLE"}).Draw(t, "name")}
			for range rapid.IntRange(0, 3).Draw(t, "args") {
				args = append(args, string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "arg")))
			}

			b.Write(encode(args...))
		}
		stream := b.Bytes()[:rapid.IntRange(0, b.Len()).Draw(t, "end")]

		var whole, parts Scanner
		if _, err := whole.Write(stream); err != nil {
			t.Fatal(err)
		}

		for rest := stream; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			if _, err := parts.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}

		if whole.Safe != parts.Safe || whole.Commands != parts.Commands || whole.pos != uint64(len(stream)) {
			t.Fatalf("%d %d", whole.Safe, parts.Safe)
		}
	})
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte(cmd("SELECT", "0")+cmd("MULTI")+cmd("EXEC")), 3)
	f.Add([]byte("*1\r\n$-1\r\n"), 1)
	f.Fuzz(func(t *testing.T, b []byte, split int) {
		var a, c Scanner

		n, err := a.Write(b)
		if split < 0 || split > len(b) {
			split = len(b) / 2
		}

		m, err2 := c.Write(b[:split])
		if err2 == nil {
			var k int
			k, err2 = c.Write(b[split:])
			m += k
		}

		if n != m || (err == nil) != (err2 == nil) || a.Safe != c.Safe || a.Safe > uint64(len(b)) || a.left < 0 {
			t.Fatalf("%d %v %d / %d %v %d", n, err, a.Safe, m, err2, c.Safe)
		}
	})
}
