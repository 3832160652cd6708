package targets

// CutPoint is the point of a shard in a cut.
type CutPoint struct {
	*ShardPoint
	Cut *Cut
}

// PointsByShard are the points of each shard in cuts, in the order of the cuts: what Point finds in
// each. For many shards it is far less work than to ask every cut for each.
func PointsByShard(cuts []Cut) map[ShardID][]CutPoint {
	all := map[ShardID][]CutPoint{}
	for i := range cuts {
		c := &cuts[i]

		for j := range c.Shards {
			p := &c.Shards[j]
			if of := all[p.Shard]; len(of) == 0 || of[len(of)-1].Cut != c {
				all[p.Shard] = append(of, CutPoint{p, c})
			}
		}
	}

	return all
}
