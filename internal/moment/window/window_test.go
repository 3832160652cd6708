package window_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/moment/window"
	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/proof/clock"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
)

const (
	group = "shop"
	line  = "7-00000001"
	limit = 10 * time.Second
)

var shard = targets.ShardID{Target: "orders", Shard: "0"}

type world struct {
	dir   string
	set   vault.Set
	begun time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	dir := filepath.Join(t.TempDir(), "vault")

	v, err := vault.Init(t.Context(), vault.Options{Region: "east", ResticBin: sandboxtest.Tools(t).ResticBin,
		Location: vault.Location{URL: "file://" + dir}, Key: key})
	if err != nil {
		t.Fatal(err)
	}

	return &world{dir, vault.Set{Vaults: []*vault.Vault{v}}, time.Now().UTC().Add(-time.Hour).Truncate(time.Second)}
}

func (w *world) at(seconds int) time.Time { return w.begun.Add(time.Duration(seconds) * time.Second) }

// observe stores batches of an observer, of ten seconds each.
func (w *world) observe(t *testing.T, observer string, from, to int) {
	t.Helper()

	w.observeWith(t, observer, from, to, w.at(from))
}

// observeWith stores batches of an observer that has noted holes since a time; zero is one that does not.
func (w *world) observeWith(t *testing.T, observer string, from, to int, noted time.Time, holes ...observation.Hole) {
	t.Helper()

	for at := from; at < to; at += 10 {
		b := observation.Batch{Group: group, Observer: observer, Since: clock.Instant(at) * 1e9, Until: clock.Instant(at+10) * 1e9,
			Began: w.at(at), Ended: w.at(at + 10), Noted: noted}
		for _, h := range holes {
			if !h.To.After(b.Ended) {
				b.Holes = append(b.Holes, h)
			}
		}

		if err := batches.Save(t.Context(), w.set, b); err != nil {
			t.Fatal(err)
		}
	}
}

// archive archives bytes of the log in one chunk.
func (w *world) archive(t *testing.T, from, to uint64, seconds int) {
	t.Helper()

	a, err := stream.NewArchiver(t.Context(), stream.Options{Set: w.set, Shard: shard, Kind: targets.Postgres, Clock: func() time.Time { return w.at(seconds) }})
	if err != nil {
		t.Fatal(err)
	}

	for _, err := range []error{a.Begin(t.Context(), line, from, targets.Position{}, nil), a.Write(t.Context(), from, make([]byte, to-from)), a.Close(t.Context())} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// base stores the record of a base that led to an offset.
func (w *world) base(t *testing.T, id string, at uint64, seconds int) {
	t.Helper()
	s := w.set.Shard(shard)

	saved, err := s.SaveStream(t.Context(), "image", strings.NewReader(id), nil)
	if err != nil {
		t.Fatal(err)
	}
	p := targets.Position{Kind: targets.Postgres, Timeline: line, Offset: at}

	_, err = w.set.SaveBase(t.Context(), targets.Artifact{ID: id, Shard: shard, Kind: targets.Postgres, Region: "east", From: p, Until: p,
		Started: w.at(seconds), Finished: w.at(seconds), Snapshot: saved.Snapshot, Path: saved.Path, Method: "files"})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) look(t *testing.T) *window.Window {
	t.Helper()

	got, err := window.Of(t.Context(), w.set.Vaults[0], group, []targets.ShardID{shard}, limit, w.at(0), w.at(600))
	if err != nil {
		t.Fatal(err)
	}

	return got
}

func (w *world) want(t *testing.T, got *window.Window, open [][2]int, causes ...string) {
	t.Helper()

	if len(got.Open) != len(open) {
		t.Fatalf("open is %+v, with holes %+v", got.Open, got.Holes)
	}

	for i, o := range got.Open {
		if !o.From.Equal(w.at(open[i][0])) || !o.To.Equal(w.at(open[i][1])) || o.ProvenFrom.Before(o.From) {
			t.Errorf("open from %s to %s, want from %d to %d s", o.From.Sub(w.begun), o.To.Sub(w.begun), open[i][0], open[i][1])
		}
	}

	for _, c := range causes {
		found := false
		for _, h := range got.Holes {
			found = found || strings.Contains(h.Cause, c) && h.From.Before(h.To)
		}

		if !found {
			t.Errorf("no hole says %q: %+v", c, got.Holes)
		}
	}
}

// The window is open where one observer saw the group, and the log leads there from a base.
func TestWindow(t *testing.T) {
	w := newWorld(t)
	w.want(t, w.look(t), nil, "nobody observed", "no base")

	w.observe(t, "A", 50, 200)
	w.observe(t, "B", 230, 500)
	w.archive(t, 0, 1000, 20)
	w.want(t, w.look(t), nil, "there is no base")

	w.base(t, "b1", 100, 40)
	w.archive(t, 1000, 2000, 280)
	got := w.look(t)
	w.want(t, got, [][2]int{{53, 200}, {233, 500}}, "started anew", "that is so old", "nobody observed")

	if p := got.Open[1].ProvenFrom; !p.Equal(w.at(243)) {
		t.Errorf("proven from %s", p.Sub(w.begun))
	}

	// Bytes were lost, and then there was a base.
	w.archive(t, 2500, 3000, 320)
	w.want(t, w.look(t), [][2]int{{53, 200}, {233, 280}}, "hole of 500 bytes")
	w.base(t, "b2", 2600, 400)
	w.want(t, w.look(t), [][2]int{{53, 200}, {233, 280}, {400, 500}}, "hole of 500 bytes")
}

// hole is one that an observer noted.
func (w *world) hole(from, to int, stepped time.Duration, why string) observation.Hole {
	return observation.Hole{Shard: shard, From: w.at(from), To: w.at(to), Least: stepped, Most: stepped, Why: why}
}

// led makes that the log leads everywhere.
func (w *world) led(t *testing.T) {
	t.Helper()

	w.archive(t, 0, 1000, 1)
	w.base(t, "b1", 100, 0)
}

// What an observer noted of clocks and of shards that it did not see makes holes, also where no
// batch that can be read tells of it directly.
func TestNotedHoles(t *testing.T) {
	w := newWorld(t)
	w.led(t)
	w.observeWith(t, "A", 0, 500, w.at(0), w.hole(100, 101, 2*time.Second, ""), w.hole(200, 250, 0, "connection refused"), w.hole(300, 301, -5*time.Second, ""))

	got := w.look(t)
	w.want(t, got, [][2]int{{3, 100}, {101, 200}, {250, 295}, {306, 500}}, "stepped by 2s", "connection refused", "stepped by -5s")

	if len(got.Unknown) > 0 {
		t.Errorf("not known: %+v", got.Unknown)
	}

	// Its newest batches are lost: those before them tell of what was noted until then, and no more.
	for at := 460; at < 500; at += 10 {
		name := vault.ObservationName{Group: group, Observer: "A", Began: w.at(at), Ended: w.at(at + 10)}
		if err := os.Truncate(filepath.Join(w.dir, filepath.FromSlash(name.Key())), 10); err != nil {
			t.Fatal(err)
		}
	}

	got = w.look(t)
	w.want(t, got, [][2]int{{3, 100}, {101, 200}, {250, 295}, {306, 500}}, "stepped by 2s")

	if len(got.Unknown) != 1 || !got.Unknown[0].From.Equal(w.at(460)) || !got.Unknown[0].To.Equal(w.at(500)) {
		t.Errorf("not known: %+v", got.Unknown)
	}
}

// Of an observer that notes nothing, or has forgotten, the window says so. What it forgot, an older batch tells.
func TestWhatNobodyNoted(t *testing.T) {
	w := newWorld(t)
	w.led(t)
	w.observeWith(t, "A", 0, 100, time.Time{})
	w.observeWith(t, "B", 130, 200, w.at(130), w.hole(150, 151, time.Second, ""))
	w.observeWith(t, "B", 200, 300, w.at(180), w.hole(250, 251, time.Second, ""))

	got := w.look(t)
	w.want(t, got, [][2]int{{3, 100}, {133, 150}, {151, 250}, {251, 300}}, "stepped by 1s")

	if len(got.Unknown) != 1 || !got.Unknown[0].From.Equal(w.at(0)) || !got.Unknown[0].To.Equal(w.at(100)) {
		t.Errorf("not known: %+v", got.Unknown)
	}
}

// Whether there was a quiet instant is said of the cuts that were read out of the logs, and of nothing else.
func TestQuietInstantsAreThoseOfCuts(t *testing.T) {
	w := newWorld(t)
	w.led(t)
	w.observe(t, "A", 0, 500)

	if q := w.look(t).Quiet; q.Found != 0 || !q.From.Equal(w.at(3)) || !q.To.Equal(w.at(500)) {
		t.Errorf("without a cut: %+v", q)
	}

	for _, at := range []int{100, 150, 400, 550} { // nobody observed then: the last is of no use
		key := vault.EvidenceKey(group, targets.NewID(w.at(at)))
		if err := w.set.Vaults[0].PutEncrypted(t.Context(), key, nil, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}

	if q := w.look(t).Quiet; q.Found != 3 || !q.From.Equal(w.at(150)) || !q.To.Equal(w.at(400)) {
		t.Errorf("with three cuts: %+v", q)
	}
}
