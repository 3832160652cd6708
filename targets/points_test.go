package targets

import (
	"reflect"
	"testing"
)

// The points by shard are those that each cut is asked for.
func TestPointsByShard(t *testing.T) {
	id := func(name string) ShardID { return ShardID{Target: "orders", Shard: name} }
	at := func(name string, offset uint64) ShardPoint {
		return ShardPoint{Shard: id(name), Position: Position{Offset: offset}}
	}
	cuts := []Cut{{ID: "a", Shards: []ShardPoint{at("0", 1), at("1", 2)}}, {ID: "b", Shards: []ShardPoint{at("1", 3), at("1", 4)}}, {ID: "c"}}
	got := PointsByShard(cuts)

	for _, name := range []string{"0", "1", "2"} {
		var want, is []ShardPoint
		for _, c := range cuts {
			if p, ok := c.Point(id(name)); ok {
				want = append(want, p)
			}
		}

		for _, p := range got[id(name)] {
			is = append(is, *p.ShardPoint)
		}

		if !reflect.DeepEqual(is, want) {
			t.Errorf("%s: %+v, want %+v", name, is, want)
		}
	}
}
