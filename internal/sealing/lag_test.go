package sealing

import (
	"testing"

	"drctl/targets"
)

func TestLagNamesWhatIsWaitedFor(t *testing.T) {
	cut := targets.Cut{ID: "c"}

	var ids []targets.ShardID
	for _, s := range []string{"orders/0", "orders/1", "orders/2", "carts/0", "media/0"} {
		id, err := targets.ParseShardID(s)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
		cut.Shards = append(cut.Shards, targets.ShardPoint{Shard: id})
	}
	l := NewLag(cut)
	want := func(done, total int64, detail string) {
		t.Helper()

		if d, n, text := l.Now(); d != done || n != total || text != detail {
			t.Errorf("%d of %d: %s, want %d of %d: %s", d, n, text, done, total, detail)
		}
	}
	want(0, 0, "c waits for orders/0, orders/1, orders/2, 2 more")
	l.note(ids[0], 3<<20)
	l.note(ids[1], 1<<20)
	l.done(ids[4])
	want(0, 4<<20, "c waits for orders/0 (3 MiB missing), orders/1 (1 MiB missing), orders/2, 1 more")
	l.note(ids[0], 1<<20)
	l.done(ids[1])
	l.done(ids[2])
	l.done(ids[3])
	want(3<<20, 4<<20, "c waits for orders/0 (1 MiB missing)")
	l.done(ids[0])
	want(4<<20, 4<<20, "c")
}
