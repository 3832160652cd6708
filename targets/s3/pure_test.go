package s3

import (
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"pgregory.net/rapid"

	"drctl/internal/fail"
	"drctl/internal/manifest"
	"drctl/targets"
	"drctl/targets/s3/merge"
)

func sequence[T any](xs []T, err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, x := range xs {
			if !yield(x, nil) {
				return
			}
		}

		if err != nil {
			var zero T
			yield(zero, err)
		}
	}
}

func keys(t *rapid.T, name string) []string {
	ks := rapid.SliceOfDistinct(rapid.StringMatching(`[a-c/\n-]{1,4}`), func(s string) string { return s }).Draw(t, name)
	slices.Sort(ks)

	return ks
}

// TestJoin compares the merge with sets.
func TestJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		left, right := keys(t, "left"), keys(t, "right")
		var l []listed
		var r []manifest.Entry

		want := map[string]string{}
		for _, k := range left {
			l = append(l, listed{Key: k})
			want[k] += "l"
		}

		for _, k := range right {
			r = append(r, manifest.Entry{Key: k})
			want[k] += "r"
		}

		got, last := map[string]string{}, ""
		for p, err := range merge.Join(sequence(l, nil), sequence(r, nil), listedKey, entryKey) {
			if err != nil {
				t.Fatal(err)
			}

			k := ""
			if p.Left != nil {
				k = p.Left.Key
			}

			if p.Right != nil {
				if k != "" && k != p.Right.Key {
					t.Fatalf("%q is paired with %q", k, p.Right.Key)
				}
				k = p.Right.Key
			}

			if k <= last {
				t.Fatalf("%q comes after %q", k, last)
			}

			last = k
			if p.Left != nil {
				got[k] += "l"
			}

			if p.Right != nil {
				got[k] += "r"
			}
		}

		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

func TestJoinErrors(t *testing.T) {
	boom := fail.Newf(fail.Unavailable, "x", "", "boom")
	for _, c := range [][2]error{{boom, nil}, {nil, boom}} {
		n, seen := 0, error(nil)
		for _, err := range merge.Join(sequence([]listed{{Key: "a"}}, c[0]), sequence([]manifest.Entry{{Key: "a"}, {Key: "b"}}, c[1]), listedKey, entryKey) {
			if err != nil {
				seen = err
				break
			}

			n++
		}

		if seen == nil || n == 0 {
			t.Errorf("%v: %d pairs, %v", c, n, seen)
		}
	}
}

// TestPick: for any history, the version of the instant is the newest at or
// before it, unless a deletion surely lies between; near the instant a surplus
// object is allowed, a missing one is not.
func TestPick(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		offsets := rapid.SliceOfDistinct(rapid.IntRange(-100, 100), func(i int) int { return i }).Draw(t, "tenths")
		slices.SortFunc(offsets, func(a, b int) int { return b - a }) // newest first
		h := history{at: at, key: "k"}

		alive, state := "", map[int]bool{}
		for i, o := range offsets {
			deleted := rapid.Bool().Draw(t, "deleted")
			state[o] = deleted
			when := at.Add(time.Duration(o) * 100 * time.Millisecond)
			h.add(event{listed: listed{Key: "k", VersionID: fmt.Sprint(o), Modified: when}, deleted: deleted, latest: i == 0})
		}

		clear := true // nothing happens within Slack of the instant
		for o := range state {
			if d := time.Duration(o) * 100 * time.Millisecond; d > -Slack && d <= Slack {
				clear = false
			}
		}

		for _, o := range offsets {
			if o <= 0 {
				if !state[o] {
					alive = fmt.Sprint(o)
				}

				break
			}
		}

		got, ok := h.pick()
		if alive != "" && (!ok || got.VersionID != alive) {
			t.Fatalf("the object of the instant is %s, got %+v", alive, got)
		}

		if clear && ok != (alive != "") {
			t.Fatalf("alive %q, got %+v", alive, got)
		}
	})
}

// TestPickTrustsTheOrder: LastModified of an object that came in parts can be
// before that of the one it replaced.
func TestPickTrustsTheOrder(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	version := func(id string, before time.Duration) event {
		return event{listed: listed{Key: "k", VersionID: id, Modified: at.Add(-before)}, latest: id == "parts"}
	}
	h := history{at: at, key: "k"}
	h.add(version("parts", 2*time.Hour)) // begun first, finished last
	h.add(version("whole", time.Hour))
	h.add(version("older", 3*time.Hour))

	if got, ok := h.pick(); !ok || got.VersionID != "parts" {
		t.Fatalf("%+v", got)
	}
}

func TestOrdered(t *testing.T) {
	b := &bucket{in: targets.Instance{Database: "media"}}
	for name, keys := range map[string][]string{"descending": {"b", "a"}, "twice": {"a", "a"}, "unnameable": {"a\uFFFD"}} {
		var ls []listed
		for _, k := range keys {
			ls = append(ls, listed{Key: k, unnamed: name == "unnameable"})
		}

		var err error
		for _, e := range b.ordered(sequence(ls, nil)) {
			err = e
		}

		if !fail.Is(err, fail.Unsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What an answer shows and what it means: U+FFFD that was encoded is the key's
// own, one that was not stands for something that XML cannot hold.
func TestDecoder(t *testing.T) {
	for _, c := range []struct {
		encoding types.EncodingType
		raw, key string
		named    bool
	}{
		{types.EncodingTypeUrl, "a%2Fb+c%EF%BF%BD", "a/b c\uFFFD", true},
		{types.EncodingTypeUrl, "%01ctl", "\x01ctl", true},
		{types.EncodingTypeUrl, "a\uFFFD", "a\uFFFD", false},
		{types.EncodingTypeUrl, "a%FF", "a\xff", false},
		{"", "a%20b", "a%20b", true},
		{"", "a\uFFFD", "a\uFFFD", false},
	} {
		if key, named := decoder(c.encoding)(&c.raw); key != c.key || named != c.named {
			t.Errorf("%q in encoding %q: %q, named %v", c.raw, c.encoding, key, named)
		}
	}
}

// Which objects without a name count at an instant.
func TestOddities(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ev := func(key string, age time.Duration, latest, deleted bool) event {
		return event{listed: listed{Key: key, unnamed: true, Modified: at.Add(-age)}, latest: latest, deleted: deleted}
	}

	const h = time.Hour
	for name, c := range map[string]struct {
		events []event
		want   int
	}{
		"there":                          {[]event{ev("x", h, true, false)}, 1},
		"two that show one key":          {[]event{ev("x", h, true, false), ev("x", 2*h, true, false)}, 2},
		"overwritten":                    {[]event{ev("x", h, true, false), ev("x", 2*h, false, false)}, 1},
		"deleted long ago":               {[]event{ev("x", 2*h, false, false), ev("x", h, true, true)}, 0},
		"deleted since the instant":      {[]event{ev("x", 2*h, false, false), ev("x", -h, true, true)}, 1},
		"made after the instant":         {[]event{ev("x", -h, true, false)}, 0},
		"another's deletion hides none":  {[]event{ev("x", h, true, false), ev("x", h/2, true, true)}, 1},
		"deleted, and another one there": {[]event{ev("x", 2*h, false, false), ev("x", h, true, true), ev("y", h, true, false)}, 1},
	} {
		o := oddities{at: at, known: map[string]*history{}, told: map[string]bool{}}

		n := 0
		for _, e := range c.events {
			if _, ok := o.add(e); ok {
				n++
			}
		}

		if n += len(o.rest()); n != c.want {
			t.Errorf("%s: %d, want %d", name, n, c.want)
		}
	}
}

func TestClock(t *testing.T) {
	for _, c := range []struct {
		k    clock
		want time.Duration
	}{{clock{}, 0}, {clock{-500 * time.Millisecond, 600 * time.Millisecond}, 0}, {clock{10 * time.Second, 11 * time.Second}, 10500 * time.Millisecond},
		{clock{-5 * time.Second, -3 * time.Second}, -4 * time.Second}, {clock{time.Second, 2 * time.Second}, 0}} {
		if got := c.k.skew(); got != c.want {
			t.Errorf("%+v: %s", c.k, got)
		}
	}
}

func TestULID(t *testing.T) {
	at, ok := ulidTime("01M851DNVSERH0DBJ1PJ2CYEGX")
	if !ok || at.Format(time.RFC3339Nano) != "2026-11-23T20:26:38.841Z" {
		t.Errorf("%s %v", at, ok)
	}

	for _, s := range []string{"", "null", "01M851DNVSERH0DBJ1PJ2CYEG", "01M851DNVSERH0DBJ1PJ2CYEGI", "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrH", "00000000000000000000000000"} {
		if _, ok := ulidTime(s); ok {
			t.Errorf("%q is taken", s)
		}
	}
}
