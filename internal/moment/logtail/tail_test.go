package logtail_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/moment/logtail"
	"drctl/internal/observation"
	"drctl/internal/proof"
	"drctl/internal/proof/shardlog"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
)

const (
	first  = "7-00000001"
	second = "7-00000002"
	align  = 64
)

var shard = targets.ShardID{Target: "orders", Shard: "0"}

// opener opens logs that remember all bytes, and counts those.
type opener struct {
	fed   int
	whole uint64 // a log that is shorter knows no transaction from its beginning
}

func (*opener) LogStart(at uint64) uint64 { return (at + align - 1) / align * align }

func (o *opener) OpenLog(of shardlog.Options) (shardlog.Log, error) {
	if of.Start%align != 0 {
		return nil, fail.Newf(fail.Invalid, "test", "", "it begins at %d", of.Start)
	}

	return &log{opener: o, of: of}, nil
}

type log struct {
	opener *opener
	of     shardlog.Options
	all    []byte
}

func (l *log) Feed(src io.Reader) error {
	b, err := io.ReadAll(src)
	l.all = append(l.all, b...)
	l.opener.fed += len(b)

	return err
}

func (l *log) Stretch(from uint64, _ []observation.Observation) (*shardlog.Result, error) {
	end := l.of.Start + uint64(len(l.all))

	r := &shardlog.Result{Stretch: proof.Stretch{Shard: l.of.Shard, From: from, To: end,
		Timeline: fmt.Sprintf("%v %x", l.of.Timelines, sha256.Sum256(l.all))}}
	if uint64(len(l.all)) < l.opener.whole {
		r.Missing = append(r.Missing, shardlog.NotWhole)
	}

	return r, nil
}

func (l *log) Forget(uint64) {}

// world is a vault with a log.
type world struct {
	v      *vault.Vault
	opener *opener
	tail   *logtail.Tail
}

func newWorld(t *testing.T) *world {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "east", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "vault")}, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	o := &opener{}

	return &world{v, o, logtail.New(v, o, shard)}
}

func content(timeline string, from, to uint64) []byte {
	b := make([]byte, 0, to-from)
	for at := from; at < to; at++ {
		b = append(b, byte(at*at>>3)^timeline[len(timeline)-1])
	}

	return b
}

func changed(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 1

	return b
}

// archive archives a part of a log in one chunk.
func (w *world) archive(t *testing.T, timeline string, from, to uint64, parent targets.Position) {
	t.Helper()

	a, err := stream.NewArchiver(t.Context(), stream.Options{Set: vault.Set{Vaults: []*vault.Vault{w.v}, Durability: 1}, Shard: shard, Kind: targets.Postgres})
	if err != nil {
		t.Fatal(err)
	}

	for _, err := range []error{a.Begin(t.Context(), timeline, from, parent, nil), a.Write(t.Context(), from, content(timeline, from, to)), a.Close(t.Context())} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// read reads what is wanted, which must be what reading it anew says.
func (w *world) read(t *testing.T, want logtail.Wanted) (*shardlog.Result, logtail.Span) {
	t.Helper()

	res, span, err := w.tail.Read(t.Context(), want, nil)
	if err != nil {
		t.Fatal(err)
	}
	fed := w.opener.fed

	again, err := logtail.New(w.v, w.opener, shard).Again(t.Context(), span, nil)
	if err != nil {
		t.Fatal(err)
	}

	if !reflect.DeepEqual(res, again) {
		t.Errorf("remembered %+v, and anew %+v", res, again)
	}
	w.opener.fed = fed

	if res.To != span.To || res.From != span.From {
		t.Errorf("the stretch [%d,%d) is of %+v", res.From, res.To, span)
	}

	return res, span
}

// Who reads again and again reads what is new, twice at most, and remembers no more than twice of what
// is asked for.
func TestCostFollowsWhatIsNew(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(1, 1))
	end := uint64(5000)
	w.archive(t, first, 0, end, targets.Position{})
	moved := map[uint64]bool{}

	for i := range 60 {
		w.opener.fed = 0
		_, span := w.read(t, logtail.Wanted{Timeline: first, Start: end - 5000, From: end - 500, To: end})
		moved[span.Start] = true

		grew := uint64(100 + rnd.IntN(900))

		if i > 0 && w.opener.fed > 2000+2*align {
			t.Errorf("%d bytes were read anew", w.opener.fed)
		}

		if span.Start > end-5000+align || span.Start+3*5000 < end {
			t.Errorf("at %d it begins at %d", end, span.Start)
		}

		w.archive(t, first, end, end+grew, targets.Position{})
		end += grew
	}

	if len(moved) < 4 {
		t.Errorf("it never lets go of what is old: %v", moved)
	}

	w.opener.fed = 0
	w.read(t, logtail.Wanted{Timeline: first, Start: end - 9000, From: end - 500, To: end})
	once := w.opener.fed
	w.read(t, logtail.Wanted{Timeline: first, Start: end - 9000, From: end - 500, To: end})

	if w.opener.fed != once {
		t.Error("the same was read twice")
	}
}

// Where what is wanted begins goes back and forth: what is remembered serves for all of it.
func TestTheBeginningGoesBack(t *testing.T) {
	w := newWorld(t)
	end := uint64(0)

	grow := func(by uint64) {
		w.archive(t, first, end, end+by, targets.Position{})
		end += by
	}
	for range 10 {
		grow(500)
	}

	for i, start := range []uint64{0, 3000, 1000, 4500, 5400, 2000} {
		w.opener.fed = 0
		w.read(t, logtail.Wanted{Timeline: first, Start: start, From: end - 100, To: end})

		if i > 0 && w.opener.fed > 2*500+2*align {
			t.Errorf("from %d on, %d bytes were read anew", start, w.opener.fed)
		}

		grow(500)
	}
}

// What knows less does not take the place of what knows more.
func TestAShortMemoryWaits(t *testing.T) {
	w := newWorld(t)
	w.opener.whole = 3000
	w.archive(t, first, 0, 4000, targets.Position{})

	for end := uint64(4000); end < 8000; end += 200 {
		if res, span := w.read(t, logtail.Wanted{Timeline: first, Start: end - 1000, From: end - 100, To: end}); end > 4000 && len(res.Missing) > 0 && span.Start > 3000 {
			t.Fatalf("at %d it begins at %d, and knows too little", end, span.Start)
		} else if end == 4000 {
			w.read(t, logtail.Wanted{Timeline: first, Start: 0, From: end - 100, To: end})
		}

		w.archive(t, first, end, end+200, targets.Position{})
	}
}

// A chunk that came later for bytes that were read already is noticed.
func TestOtherContent(t *testing.T) {
	w := newWorld(t)
	w.archive(t, first, 0, 1000, targets.Position{})
	w.archive(t, first, 1000, 2000, targets.Position{})

	want := logtail.Wanted{Timeline: first, From: 1500, To: 2000}
	before, _ := w.read(t, want)

	for info, err := range w.v.Store().List(t.Context(), vault.TimelinePrefix(shard, first), "") {
		if err != nil {
			t.Fatal(err)
		}

		if c, ok := vault.ParseChunkKey(info.Key); ok && c.From == 1000 {
			body, meta, err := w.v.ReadEncrypted(t.Context(), info.Key)
			if err != nil {
				t.Fatal(err)
			}
			c.Closed = c.Closed.Add(-time.Hour) // its name comes first

			if err := w.v.PutEncrypted(t.Context(), c.Key(), meta, changed(body)); err != nil {
				t.Fatal(err)
			}

			break
		}
	}

	if after, _ := w.read(t, want); after.Timeline == before.Timeline {
		t.Error("the log is another, and that is not seen")
	}
}

// Before a hole nothing is read, and nothing behind one.
func TestHoles(t *testing.T) {
	w := newWorld(t)
	w.archive(t, first, 0, 1000, targets.Position{})
	w.archive(t, first, 1200, 2000, targets.Position{})

	if _, span := w.read(t, logtail.Wanted{Timeline: first, From: 1500, To: 2000}); span.Start != 1216 {
		t.Errorf("behind the hole it begins at %d", span.Start)
	}

	if _, span := w.read(t, logtail.Wanted{Timeline: first, From: 500, To: 2000}); span.To != 1000 || span.Start != 0 {
		t.Errorf("before the hole it is %+v", span)
	}

	if _, span := w.read(t, logtail.Wanted{Timeline: first, From: 1500, To: 3000}); span.To != 2000 {
		t.Errorf("of what is not there yet it is %+v", span)
	}

	if _, _, err := w.tail.Read(t.Context(), logtail.Wanted{Timeline: "7-00000009", From: 10, To: 20}, nil); !fail.Is(err, fail.NotFound) {
		t.Errorf("of a timeline that is not there: %v", err)
	}
}

// A stretch of a timeline is read from its parent on, and what is remembered of the parent is not
// taken for it.
func TestTimelines(t *testing.T) {
	w := newWorld(t)
	w.archive(t, first, 0, 5000, targets.Position{}) // the old server went on
	w.read(t, logtail.Wanted{Timeline: first, From: 1500, To: 2500})
	w.archive(t, second, 2500, 4000, targets.Position{Kind: targets.Postgres, Timeline: first, Offset: 2500})

	_, span := w.read(t, logtail.Wanted{Timeline: second, Start: 1000, From: 2600, To: 4000})
	if len(span.Timelines) != 2 || span.Timelines[1].Begin != 2500 || span.Start != 1024 {
		t.Errorf("%+v", span)
	}

	if _, span := w.read(t, logtail.Wanted{Timeline: second, Start: 2500, From: 2600, To: 4000}); span.Start != 1024 {
		t.Errorf("it was read anew: %+v", span)
	}

	if _, span := w.read(t, logtail.Wanted{Timeline: second, Start: 2560, From: 1000, To: 4000}); span.From < 2500 {
		t.Errorf("it begins before its timeline does: %+v", span)
	}

	span.Timelines[1].Begin = 2400
	if _, err := w.tail.Again(t.Context(), span, nil); !fail.Is(err, fail.Corrupt) {
		t.Errorf("over another way: %v", err)
	}
}
