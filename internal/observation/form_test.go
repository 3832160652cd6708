package observation

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/proof/clock"
	"drctl/targets"
)

const (
	pgTimeline    = "7310000000000000001-00000001"
	redisTimeline = "0123456789abcdef0123456789abcdef01234567"
)

// sample is a batch with everything that there can be.
func sample() Batch {
	began := time.Date(2026, 11, 27, 12, 3, 7, 123456789, time.UTC)
	at := func(t0, t1 clock.Instant, stamp clock.Stamp) clock.Sample {
		return clock.Sample{T0: t0, T1: t1, Stamp: stamp, Wall: clock.Stamp(began.UnixNano()) + clock.Stamp(t1)}
	}

	return Batch{Group: "shop", Observer: "OBSERVER1", Queue: "host-a", Since: 1000, Until: 9000,
		Began: began, Ended: began.Add(8 * time.Microsecond),
		Shards: []Seen{
			{Shard: targets.ShardID{Target: "cache", Shard: "0"}, Kind: targets.Redis, Server: "run1", Observations: []Observation{
				{Sample: at(1000, 1500, 0), Timeline: redisTimeline, Flushed: 500, Inserted: 500},
				{Sample: at(2000, 2400, 0), Timeline: redisTimeline, Flushed: 510, Inserted: 510, Paused: true},
			}},
			{Shard: targets.ShardID{Target: "orders", Shard: "2"}, Kind: targets.Postgres, Server: "a", Observations: []Observation{
				{Sample: at(1100, 1200, 99000), Timeline: pgTimeline, Flushed: 90, Inserted: 100},
				{Sample: at(3100, 3300, 98000), Timeline: pgTimeline, Flushed: 80, Inserted: 70},
				{Sample: at(3100, 9000, 98000), Timeline: "7310000000000000001-00000002", Flushed: 1 << 62, Inserted: 0},
			}},
			{Shard: targets.ShardID{Target: "orders", Shard: "2"}, Kind: targets.Postgres, Server: "b"},
			{Shard: targets.ShardID{Target: "orders", Shard: "10"}, Kind: targets.Postgres, Trouble: "it does not answer"},
		}}
}

func TestBatchIsReadAsItWasWritten(t *testing.T) {
	want := sample()

	content, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}

	got, err := Decode(content)
	if err != nil {
		t.Fatal(err)
	}

	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

// A batch of a large group has to fit into a record of a vault.
func TestBatchIsCompact(t *testing.T) {
	b := sample()
	seen := b.Shards[1]
	seen.Observations = nil

	for i := range MaxObservations {
		t0 := clock.Instant(1_000_000*i) + clock.Instant(rand.IntN(100_000))
		seen.Observations = append(seen.Observations, Observation{Timeline: pgTimeline,
			Sample:  clock.Sample{T0: t0, T1: t0 + 123_456, Stamp: clock.Stamp(1.7e18) + clock.Stamp(t0), Wall: clock.Stamp(1.7e18) + clock.Stamp(t0)},
			Flushed: 1 << 50, Inserted: 1<<50 + uint64(i)*8000})
	}
	b.Shards, b.Since, b.Until = []Seen{seen}, 0, 1<<58

	content, err := Encode(b)
	if err != nil {
		t.Fatal(err)
	}

	if most := 16 << 20; len(content) > most {
		t.Fatalf("%d bytes are more than a record of a vault may have, %d", len(content), most)
	}
}

func TestWhatNoObserverWritesIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Batch){
		"group":                   func(b *Batch) { b.Group = "../x" },
		"no observer":             func(b *Batch) { b.Observer = "" },
		"queue":                   func(b *Batch) { b.Queue = "a\nb" },
		"ends before it begins":   func(b *Batch) { b.Until = b.Since - 1 },
		"wall runs backwards":     func(b *Batch) { b.Ended = b.Began.Add(-1) },
		"too long":                func(b *Batch) { b.Ended = b.Began.Add(MaxTook + 1) },
		"no time":                 func(b *Batch) { b.Began, b.Ended = time.Unix(0, 0), time.Unix(0, 0) },
		"shard":                   func(b *Batch) { b.Shards[0].Shard.Target = "a/b" },
		"kind":                    func(b *Batch) { b.Shards[0].Kind = "mongo" },
		"kind without a log":      func(b *Batch) { b.Shards[0].Kind = targets.S3 },
		"trouble":                 func(b *Batch) { b.Shards[0].Trouble = strings.Repeat("x", 5000) },
		"no server":               func(b *Batch) { b.Shards[0].Server = "" },
		"not sorted":              func(b *Batch) { b.Shards[0], b.Shards[1] = b.Shards[1], b.Shards[0] },
		"twice":                   func(b *Batch) { b.Shards[2].Server = "a" },
		"timeline":                func(b *Batch) { b.Shards[0].Observations[0].Timeline = pgTimeline },
		"before the batch":        func(b *Batch) { b.Since = 1001 },
		"after the batch":         func(b *Batch) { b.Until = 8999 },
		"answered before asked":   func(b *Batch) { b.Shards[0].Observations[0].T1 = 999 },
		"not in order":            func(b *Batch) { b.Shards[0].Observations[1].T0 = 999; b.Since = 0 },
		"flushed beyond any log":  func(b *Batch) { b.Shards[0].Observations[0].Flushed = 1<<62 + 1 },
		"inserted beyond any log": func(b *Batch) { b.Shards[0].Observations[0].Inserted = 1 << 63 },
		"stamp":                   func(b *Batch) { b.Shards[1].Observations[0].Stamp = 1<<62 + 1 },
		"shards":                  func(b *Batch) { b.Shards = make([]Seen, MaxShards+1) },
		"observations": func(b *Batch) {
			b.Shards[0].Observations = make([]Observation, MaxObservations+1)
			for i := range b.Shards[0].Observations {
				b.Shards[0].Observations[i] = sample().Shards[0].Observations[0]
			}
		},
	} {
		b := sample()
		spoil(&b)

		if _, err := Encode(b); !fail.Is(err, fail.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamageIsCorrupt(t *testing.T) {
	good, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}

	for from, to := range map[string]string{
		`"rows":[`:              `"rows":[1,`,
		`"rows":[0,500,`:        `"rows":[-1,500,`,
		`,1]}`:                  `,2]}`,
		`"group":"shop"`:        `"group":""`,
		`"until_ns":9000`:       `"until_ns":900`,
		`"kind":"redis"`:        `"kind":"postgres"`,
		`"lineage":"0123`:       `"lineage":"x123`,
		`"since_ns":1000`:       `"since_ns":9223372036854775807`,
		`"began_unix_ns":1`:     `"began_unix_ns":-1`,
		`"shards":[`:            `"shards":[{},`,
		`"server":"run1",`:      ``,
		"}\n":                   "}}\n",
		`"rows":[0,500,0,`:      `"rows":[0,500,9e99,`,
		`"shards"`:              `"shard"`,
		`"observer":"OBSERVER1`: `"observer":"OBSERVER1/`,
	} {
		bad := bytes.Replace(good, []byte(from), []byte(to), 1)
		if bytes.Equal(bad, good) {
			t.Errorf("nothing like %s in\n%s", from, good)
		}

		if got, err := Decode(bad); from != `"shards"` && !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s for %s: %v", to, from, err)
		} else if from == `"shards"` && len(got.Shards) > 0 { // another field: no shards
			t.Errorf("shards from nowhere: %+v", got)
		}
	}

	later := bytes.Replace(good, []byte(`"v":1`), []byte(`"v":2`), 1)
	if _, err := Decode(later); !fail.Is(err, fail.Unsupported) {
		t.Errorf("a later version: %v", err)
	}

	more := bytes.Replace(good, []byte(`"v":1`), []byte(`"v":1,"new":7`), 1)
	if _, err := Decode(more); err != nil {
		t.Errorf("a field that a later version added: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	good, _ := Encode(sample())
	f.Add(good)
	f.Add([]byte(`{"v":1,"shards":[{"runs":[{"rows":[1,2,3,4,5,6,7]}]}]}`))
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		b, err := Decode(content)
		if err != nil {
			if !fail.Is(err, fail.Corrupt) && !fail.Is(err, fail.Unsupported) {
				t.Fatal(err)
			}

			return
		}

		again, err := Encode(b)
		if err != nil {
			t.Fatalf("%v: %+v", err, b)
		}

		if !json.Valid(again) {
			t.Fatal("not JSON")
		}

		same, err := Decode(again)
		if err != nil || !reflect.DeepEqual(norm(b), norm(same)) {
			t.Fatalf("%v\n%+v\n%+v", err, b, same)
		}
	})
}

// norm makes no rows and no shards one thing.
func norm(b Batch) Batch {
	if len(b.Shards) == 0 {
		b.Shards = nil
	}

	return b
}
