package reconcile_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"drctl/internal/fail"
	"drctl/internal/manifest"
	"drctl/targets/reconciliation"
	"drctl/targets/s3/reconcile"
)

// fake is a bucket in memory.
type fake struct {
	name      string
	versioned bool
	objects   map[string]held
	deleted   map[string]bool // it has a delete marker
	calls     *int
	// before is called before every call with its number; an error of it is that of the call.
	before func(n int, call, key string) error
}

type held struct {
	content, meta string
	etag          string
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func (f *fake) called(call, key string) error {
	*f.calls++
	if f.before == nil {
		return nil
	}

	return f.before(*f.calls, call, key)
}

// locks are held for one call: the two sides count their calls together.
var locks sync.Mutex

func (f *fake) do(call, key string, then func() error) error {
	locks.Lock()
	defer locks.Unlock()

	if err := f.called(call, key); err != nil {
		return err
	}

	return then()
}

func (f *fake) object(key string) reconcile.Object {
	h := f.objects[key]
	return reconcile.Object{Key: key, State: reconciliation.State{ETag: h.etag, Size: int64(len(h.content))}}
}

func (f *fake) Name() string { return f.name }

func (f *fake) List(context.Context) iter.Seq2[reconcile.Object, error] {
	return func(yield func(reconcile.Object, error) bool) {
		at := ""
		for {
			var o reconcile.Object

			err := f.do("list", at, func() error {
				for _, k := range slices.Sorted(maps.Keys(f.objects)) {
					if k > at {
						o = f.object(k)
						return nil
					}
				}

				return nil
			})
			if err != nil || o.Key == "" {
				if err != nil {
					yield(o, err)
				}

				return
			}

			if at = o.Key; !yield(o, nil) {
				return
			}
		}
	}
}

func (f *fake) Absent(_ context.Context, key string) (out reconcile.Absence, err error) {
	return out, f.do("absent", key, func() error {
		_, there := f.objects[key]

		switch {
		case !f.versioned:
			out = reconcile.Unknown
		case there:
			out = reconcile.Present
		case f.deleted[key]:
			out = reconcile.Deleted
		default:
			out = reconcile.Never
		}

		return nil
	})
}

func (f *fake) Stat(_ context.Context, key string) (o reconcile.Object, ok bool, err error) {
	return o, ok, f.do("stat", key, func() error {
		_, ok = f.objects[key]
		o = f.object(key)

		return nil
	})
}

// is fails when an object is no longer the one that was listed.
func (f *fake) is(o reconcile.Object) error {
	if f.object(o.Key) != o {
		return fail.Newf(fail.Conflict, "fake", o.Key, "it has changed")
	}

	return nil
}

func (f *fake) Sum(_ context.Context, o reconcile.Object) (out string, err error) {
	return out, f.do("sum", o.Key, func() error {
		out = sum(f.objects[o.Key].content)
		return f.is(o)
	})
}

func (f *fake) Open(_ context.Context, o reconcile.Object) (c reconcile.Content, err error) {
	return c, f.do("open", o.Key, func() error {
		h := f.objects[o.Key]
		c = reconcile.Content{Body: io.NopCloser(strings.NewReader(h.content)), Size: int64(len(h.content)), Entry: manifest.Entry{ContentType: h.meta}}

		return f.is(o)
	})
}

func (f *fake) Create(_ context.Context, key string, c reconcile.Content) (string, error) {
	b, err := io.ReadAll(c.Body)
	if err != nil {
		return "", err
	}

	return sum(string(b)), f.do("create", key, func() error {
		if _, ok := f.objects[key]; ok {
			return fail.Newf(fail.Conflict, "fake", key, "the key is taken")
		}
		f.objects[key] = held{string(b), c.Entry.ContentType, "copy of " + sum(string(b))}

		return nil
	})
}

func (f *fake) Trial(context.Context) error { return nil }

func (f *fake) Delete(_ context.Context, o reconcile.Object) error {
	return f.do("delete", o.Key, func() error {
		if err := f.is(o); err != nil {
			return err
		}

		delete(f.objects, o.Key)
		f.deleted[o.Key] = true

		return nil
	})
}

// scene is two buckets that went on separately, and what they had when they parted.
type scene struct {
	a, b     *fake
	ancestor map[string]string // contents
	etags    map[string]string
	calls    int
}

func (s *scene) manifest(context.Context) (io.ReadCloser, error) {
	var b bytes.Buffer
	w := manifest.NewWriter(&b)

	for _, k := range slices.Sorted(maps.Keys(s.ancestor)) {
		if err := w.Add(manifest.Entry{Key: k, Size: int64(len(s.ancestor[k])), SHA256: sum(s.ancestor[k]), ETag: s.etags[k]}); err != nil {
			return nil, err
		}
	}

	return io.NopCloser(&b), w.Flush()
}

func drawScene(t *rapid.T) *scene {
	s := &scene{ancestor: map[string]string{}, etags: map[string]string{}}
	content := rapid.SampledFrom([]string{"", "x", "y", "longer"})
	etag := func() string { return rapid.SampledFrom([]string{"", "1", "2", "3"}).Draw(t, "etag") }

	for _, f := range []**fake{&s.a, &s.b} {
		*f = &fake{versioned: rapid.Bool().Draw(t, "versioned"), objects: map[string]held{}, deleted: map[string]bool{}, calls: &s.calls}
	}
	s.a.name, s.b.name = "east", "west"

	for i := range rapid.IntRange(0, 12).Draw(t, "keys") {
		k := fmt.Sprintf("k%02d", i)

		was := rapid.Bool().Draw(t, "had")
		if was {
			s.ancestor[k] = content.Draw(t, "had content")
			s.etags[k] = "had " + etag()
		}

		for _, f := range []*fake{s.a, s.b} {
			switch rapid.SampledFrom([]string{"as it was", "gone", "never", "written"}).Draw(t, f.name) {
			case "as it was":
				if was {
					f.objects[k] = held{s.ancestor[k], "text", s.etags[k]}
				}
			case "gone":
				f.deleted[k] = was
			case "written":
				c := content.Draw(t, "content")
				f.objects[k] = held{c, "text", rapid.SampledFrom([]string{"of " + sum(c), "any " + f.name + etag(), ""}).Draw(t, "tag")}
			}
		}
	}

	return s
}

// wanted is what has to come of a key, said in another way than the code says it.
func (s *scene) wanted(k string, fill bool) (kind string, to *fake) {
	x, inA := s.a.objects[k]
	y, inB := s.b.objects[k]

	switch {
	case inA && inB && x.content == y.content:
		return "same", nil
	case inA && inB:
		return reconciliation.Conflict, nil
	case !inA && !inB:
		return "", nil
	}

	has, lacks := x, s.b
	if inB {
		has, lacks = y, s.a
	}
	was, had := s.ancestor[k]

	switch {
	case !had, lacks.versioned && !lacks.deleted[k], !lacks.versioned && fill:
		return reconciliation.Copied, lacks
	case has.content != was:
		return reconciliation.Conflict, nil
	}

	return reconciliation.Deleted, lacks
}

// emptied is the side that has nothing of what both had, while the other has.
func (s *scene) emptied() *fake {
	n := map[*fake]int{}

	for _, f := range []*fake{s.a, s.b} {
		for k := range f.objects {
			if _, had := s.ancestor[k]; had {
				n[f]++
			}
		}
	}

	switch {
	case n[s.a] > 0 && n[s.b] == 0:
		return s.b
	case n[s.b] > 0 && n[s.a] == 0:
		return s.a
	}

	return nil
}

func copyOf(m map[string]held) map[string]held { return maps.Clone(m) }

// TestModel: what comes of every key is what the model says, nothing is overwritten, and a second
// call has nothing to do.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		req := reconciliation.Request{DryRun: rapid.Bool().Draw(t, "dry"), Delete: rapid.Bool().Draw(t, "delete"), Fill: rapid.Bool().Draw(t, "fill"), Ancestor: s.manifest}
		doubtful, isEmptied := 0, false

		if rapid.IntRange(0, 3).Draw(t, "ancestor") == 0 {
			req.Ancestor, s.ancestor = nil, map[string]string{}
		}
		wasA, wasB := copyOf(s.a.objects), copyOf(s.b.objects)

		want, emptied := map[string][]string{}, s.emptied()
		endA, endB := copyOf(wasA), copyOf(wasB)

		for i := range 12 {
			k := fmt.Sprintf("k%02d", i)
			kind, to := s.wanted(k, req.Fill)

			if kind == reconciliation.Deleted && !to.versioned {
				doubtful++
			}

			isEmptied = isEmptied || kind == reconciliation.Deleted && to == emptied
			want[kind] = append(want[kind], k)

			switch {
			case req.DryRun:
			case kind == reconciliation.Copied && to == s.a:
				endA[k] = wasB[k]
			case kind == reconciliation.Copied:
				endB[k] = wasA[k]
			case kind == reconciliation.Deleted && req.Delete && to.versioned && to != emptied:
				delete(endA, k)
				delete(endB, k)
			}
		}

		got, err := reconcile.Run(context.Background(), s.a, s.b, req)
		if err != nil {
			t.Fatal(err)
		}

		listed := map[string][]string{}
		for _, d := range got.Differences {
			listed[d.Kind] = append(listed[d.Kind], d.Key)
		}

		for _, kind := range []string{reconciliation.Conflict, reconciliation.Deleted} {
			if !slices.Equal(listed[kind], want[kind]) {
				t.Errorf("%s: %v, not %v", kind, listed[kind], want[kind])
			}
		}

		if int(got.Doubtful) != doubtful || (got.Emptied != "") != isEmptied {
			t.Errorf("%d are doubtful: %+v", doubtful, got)
		}

		if int(got.Same) != len(want["same"]) || int(got.ToA+got.ToB) != len(want[reconciliation.Copied]) || int(got.Conflicts) != len(want[reconciliation.Conflict]) || got.Failed != 0 ||
			int(got.Deletions) != len(want[reconciliation.Deleted]) || int(got.Objects) != len(want["same"])+len(want[reconciliation.Copied])+len(want[reconciliation.Conflict])+len(want[reconciliation.Deleted]) {
			t.Errorf("%+v, not %v", got, want)
		}

		if req.DryRun && !slices.Equal(listed[reconciliation.Copied], want[reconciliation.Copied]) {
			t.Errorf("would copy %v, not %v", listed[reconciliation.Copied], want[reconciliation.Copied])
		}

		sameContents(t, "east", s.a.objects, endA)
		sameContents(t, "west", s.b.objects, endB)

		if req.DryRun {
			return
		}

		again, err := reconcile.Run(context.Background(), s.a, s.b, req)

		if got.Emptied != "" && got.ToA+got.ToB > 0 {
			return // it may have some of it now
		}

		if err != nil || again.ToA+again.ToB+again.Deleted != 0 || again.Conflicts != got.Conflicts || again.Deletions != got.Deletions-got.Deleted {
			t.Errorf("a second time: %v %+v after %+v", err, again, got)
		}
	})
}

func sameContents(t *rapid.T, name string, got, want map[string]held) {
	t.Helper()

	for k := range want {
		if got[k].content != want[k].content || got[k].meta != want[k].meta {
			t.Errorf("%s of %s: %+v, not %+v", k, name, got[k], want[k])
		}
	}

	if len(got) != len(want) {
		t.Errorf("%s has %d objects, not %d", name, len(got), len(want))
	}
}

// TestBrokenOffAndGoesOn: a call that breaks off anywhere, and the next one, come to where one call
// would have come.
func TestBrokenOffAndGoesOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		req := reconciliation.Request{Delete: rapid.Bool().Draw(t, "delete"), Ancestor: s.manifest}

		whole := *s
		a, b := *s.a, *s.b
		a.objects, b.objects, a.deleted, b.deleted = copyOf(s.a.objects), copyOf(s.b.objects), maps.Clone(s.a.deleted), maps.Clone(s.b.deleted)
		whole.a, whole.b = &a, &b

		if out, err := reconcile.Run(context.Background(), whole.a, whole.b, req); err != nil {
			t.Fatal(err)
		} else if out.Emptied != "" {
			return // what was on its way may fill it in between
		}

		broken := rapid.IntRange(1, 60).Draw(t, "broken at")
		after := rapid.Bool().Draw(t, "after it was done")
		s.calls = 0

		for _, f := range []*fake{s.a, s.b} {
			f.before = func(n int, call, key string) error {
				if n < broken {
					return nil
				}

				if n == broken && after && call == "create" { // it is done, and nobody hears of it
					from := s.a
					if f == s.a {
						from = s.b
					}

					if _, taken := f.objects[key]; !taken {
						h := from.objects[key]
						f.objects[key] = held{h.content, h.meta, "lost answer"}
					}
				}

				return fail.Newf(fail.Unavailable, "fake", key, "the server is gone")
			}
		}

		_, err := reconcile.Run(context.Background(), s.a, s.b, req)
		if s.calls >= broken && !fail.Is(err, fail.Unavailable) {
			t.Fatalf("it broke off at call %d: %v", broken, err)
		}
		s.a.before, s.b.before = nil, nil

		if _, err := reconcile.Run(context.Background(), s.a, s.b, req); err != nil {
			t.Fatal(err)
		}

		sameContents(t, "east", s.a.objects, whole.a.objects)
		sameContents(t, "west", s.b.objects, whole.b.objects)
	})
}

// TestWrittenMeanwhile: others write both sides all the time. What they wrote last is there at the end, but
// for what was deleted as it had been when both parted.
func TestWrittenMeanwhile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		req := reconciliation.Request{Delete: rapid.Bool().Draw(t, "delete"), Ancestor: s.manifest}
		written := map[string]map[string]string{"east": {}, "west": {}} // by others, and not deleted by them since
		writes := rapid.SliceOfN(rapid.IntRange(0, 80), 0, 20).Draw(t, "writes")

		for _, f := range []*fake{s.a, s.b} {
			for k, h := range f.objects {
				written[f.name][k] = h.content
			}
		}
		s.calls = 0

		for _, f := range []*fake{s.a, s.b} {
			f.before = func(n int, _, key string) error {
				for i, at := range writes {
					if at != n || key == "" {
						continue
					}
					side := []*fake{s.a, s.b}[i%2]
					c := fmt.Sprintf("meanwhile %d", i)
					side.objects[key] = held{c, "text", "meanwhile " + sum(c)}
					written[side.name][key] = c
				}

				return nil
			}
		}

		got, err := reconcile.Run(context.Background(), s.a, s.b, req)
		if err != nil {
			t.Fatal(err)
		}

		for _, f := range []*fake{s.a, s.b} {
			for k, c := range written[f.name] {
				h, ok := f.objects[k]
				was, had := s.ancestor[k]

				switch {
				case !ok && (!req.Delete || !had || c != was):
					t.Errorf("%s of %s has gone", k, f.name)
				case ok && h.content != c:
					t.Errorf("%s of %s was overwritten: %q, not %q", k, f.name, h.content, c)
				}
			}
		}

		if got.Failed > 0 && len(writes) == 0 {
			t.Errorf("%+v", got)
		}
	})
}

// TestDamagedAncestor: nothing is done by the manifest of another world.
func TestDamagedAncestor(t *testing.T) {
	calls := 0
	side := func(name string) *fake {
		return &fake{name: name, objects: map[string]held{}, deleted: map[string]bool{}, calls: &calls}
	}

	a, b := side("east"), side("west")
	for i := range 50 {
		a.objects[fmt.Sprintf("k%02d", i)] = held{content: "x"}
	}

	first, err := (&scene{ancestor: map[string]string{"k90": "x"}}).manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	line, err := io.ReadAll(first)
	if err != nil {
		t.Fatal(err)
	}

	_, err = reconcile.Run(t.Context(), a, b, reconciliation.Request{Ancestor: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(string(line) + "{\"key\":")), nil
	}})
	if !fail.Is(err, fail.Corrupt) || len(b.objects) != 0 {
		t.Errorf("%v %v", err, b.objects)
	}
}

// TestOneBadObject stops no other, and is listed.
func TestOneBadObject(t *testing.T) {
	calls := 0
	side := func(name string) *fake {
		return &fake{name: name, objects: map[string]held{}, deleted: map[string]bool{}, calls: &calls}
	}
	a, b := side("east"), side("west")

	for i := range 20 {
		a.objects[fmt.Sprintf("k%02d", i)] = held{content: "x"}
	}

	b.before = func(_ int, call, key string) error {
		if call == "create" && key == "k03" {
			return fail.Newf(fail.Invalid, "fake", key, "the server cannot hold this key")
		}

		return nil
	}

	got, err := reconcile.Run(t.Context(), a, b, reconciliation.Request{})
	if err != nil || got.ToB != 19 || got.Failed != 1 || len(got.Differences) != 1 || got.Differences[0].Key != "k03" || !strings.Contains(got.Differences[0].Why, "cannot hold") {
		t.Errorf("%v %+v", err, got)
	}
}

// TestNeverSettled: an object that cannot be created although its key looks free is listed, not lost.
func TestNeverSettled(t *testing.T) {
	calls := 0
	side := func(name string) *fake {
		return &fake{name: name, objects: map[string]held{}, deleted: map[string]bool{}, calls: &calls}
	}
	a, b := side("east"), side("west")
	a.objects["k"] = held{content: "x"}

	b.before = func(_ int, call, key string) error {
		if call == "create" {
			return fail.Newf(fail.Conflict, "fake", key, "the key is taken")
		}

		return nil
	}

	if got, err := reconcile.Run(t.Context(), a, b, reconciliation.Request{}); err != nil || got.Failed != 1 || got.ToB != 0 || got.Objects != 1 {
		t.Errorf("%v %+v", err, got)
	}
}
