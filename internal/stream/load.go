package stream

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

// origin is the content of a timeline's origin object.
type origin struct {
	Timeline string           `json:"lineage"`
	Kind     targets.Kind     `json:"kind,omitempty"`
	Offset   uint64           `json:"offset"`
	Parent   targets.Position `json:"parent,omitzero"`
	History  []byte           `json:"history,omitempty"`
	Began    time.Time        `json:"began"`
}

// timeline is what an origin says of its timeline.
func (o origin) timeline() Timeline {
	return Timeline{ID: o.Timeline, Origin: true, Kind: o.Kind, Offset: o.Offset, Parent: o.Parent, Began: o.Began, History: o.History}
}

// hole is the content of the record of a declared hole.
type hole struct {
	Timeline string    `json:"lineage"`
	From     uint64    `json:"from"`
	To       uint64    `json:"to"`
	Declared time.Time `json:"declared"`
}

// maxOrigin bounds what is read of an origin: a history file is a few lines.
const maxOrigin = 16 << 20

// Load reads what a vault holds of a shard's streams: one listing, and every
// timeline's origin. A vault that holds nothing is not an error, and neither is
// what is damaged: see Timeline.Damage. Timelines are sorted by age.
func Load(ctx context.Context, v *vault.Vault, shard targets.ShardID) ([]Timeline, error) {
	return load(ctx, v, v.Store(), shard)
}

func load(ctx context.Context, v *vault.Vault, st vault.Store, shard targets.ShardID) ([]Timeline, error) {
	byID := map[string]*Timeline{}
	get := func(id string) *Timeline {
		l := byID[id]
		if l == nil {
			l = &Timeline{ID: id}
			byID[id] = l
		}
		return l
	}
	for info, err := range st.List(ctx, vault.StreamPrefix(shard), "") {
		if err != nil {
			return nil, err
		}
		if c, ok := vault.ParseChunkKey(info.Key); ok {
			l := get(c.Timeline)
			l.Chunks = append(l.Chunks, Chunk{From: c.From, To: c.To, Closed: c.Closed, Key: info.Key})
		} else if _, id, ok := vault.ParseOriginKey(info.Key); ok {
			get(id).Origin = true
		} else if id, from, to, ok := vault.ParseHoleKey(info.Key); ok {
			l := get(id)
			l.Holes = append(l.Holes, Gap{From: from, To: to})
		} else if p := strings.Split(info.Key, "/"); len(p) == 5 { // streams/target/shard/timeline/name
			get(p[3]).passOver(fail.Newf(fail.Corrupt, "stream: list", info.Key, "no archiver writes such a name"))
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, l := range byID {
		if !l.Origin {
			l.setBegan()
			continue
		}
		g.Go(func() error {
			o, err := readOrigin(gctx, v, shard, l.ID)
			if fail.Is(err, fail.Corrupt) {
				l.Origin = false
				l.passOver(err)
				l.setBegan()
				return nil
			}
			if err != nil {
				return err
			}
			chunks, holes := l.Chunks, l.Holes
			*l = o.timeline()
			l.Chunks, l.Holes = chunks, holes
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := make([]Timeline, 0, len(byID))
	for _, l := range byID {
		slices.SortFunc(l.Chunks, compareChunks)
		out = append(out, *l)
	}
	sortTimelines(out)
	return out, nil
}

// maxDamage bounds how much is said of one timeline.
const maxDamage = 20

func (l *Timeline) passOver(err error) {
	if len(l.Damage) < maxDamage {
		l.Damage = append(l.Damage, err)
	}
}

// setBegan dates a timeline without an origin by its oldest chunk.
func (l *Timeline) setBegan() {
	for _, c := range l.Chunks {
		if l.Began.IsZero() || c.Closed.Before(l.Began) {
			l.Began = c.Closed
		}
	}
}

func readOrigin(ctx context.Context, v *vault.Vault, shard targets.ShardID, timeline string) (origin, error) {
	key := vault.OriginKey(shard, timeline)
	r, _, err := v.Unseal(ctx, key)
	if err != nil {
		return origin{}, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxOrigin))
	if err != nil {
		return origin{}, err
	}
	var o origin
	if err = json.Unmarshal(b, &o); err == nil {
		err = o.check(timeline)
	}
	if err != nil {
		return origin{}, fail.New(fail.Corrupt, "stream: origin", key, "", errorf("not the origin of %s (%v)", timeline, err))
	}
	return o, nil
}

// check reports what is wrong with what an origin says.
func (o origin) check(timeline string) error {
	const most = 1 << 62 // differences of offsets stay inside an int64
	switch {
	case o.Timeline != timeline:
		return errorf("it is of timeline %.80q", o.Timeline)
	case o.Parent.Timeline != "" && vault.ValidName(o.Parent.Timeline) != nil:
		return errorf("its parent is %.80q", o.Parent.Timeline)
	case o.Offset > most || o.Parent.Offset > most:
		return errorf("it begins at %d, its parent ends at %d", o.Offset, o.Parent.Offset)
	case o.Kind != "":
		return o.Kind.Check()
	}
	return nil
}

// listTimeline lists the chunks of one timeline whose keys sort after the key
// after, and its declared holes: their keys sort after every chunk's.
func listTimeline(ctx context.Context, st vault.Store, shard targets.ShardID, timeline, after string) (chunks []Chunk, holes []Gap, err error) {
	for info, err := range st.List(ctx, vault.TimelinePrefix(shard, timeline), after) {
		if err != nil {
			return nil, nil, err
		}
		if c, ok := vault.ParseChunkKey(info.Key); ok {
			chunks = append(chunks, Chunk{From: c.From, To: c.To, Closed: c.Closed, Key: info.Key})
		} else if _, from, to, ok := vault.ParseHoleKey(info.Key); ok {
			holes = append(holes, Gap{From: from, To: to})
		}
	}
	return chunks, holes, nil
}

// Union merges what several vaults hold, as if one vault held it all.
func Union(perVault [][]Timeline) []Timeline {
	type acc struct {
		l    Timeline
		keys map[string]bool
	}
	byID := map[string]*acc{}
	for _, ls := range perVault {
		for _, l := range ls {
			a := byID[l.ID]
			if a == nil {
				a = &acc{l: l, keys: map[string]bool{}}
				a.l.Chunks, a.l.Holes = nil, nil
				byID[l.ID] = a
			}
			cutOff := max(a.l.cutOff, l.cutOff)
			if l.Origin && !a.l.Origin {
				chunks, holes := a.l.Chunks, a.l.Holes
				a.l = l
				a.l.Chunks, a.l.Holes = chunks, holes
			}
			a.l.cutOff = cutOff
			for _, h := range l.Holes {
				if !slices.Contains(a.l.Holes, h) {
					a.l.Holes = append(a.l.Holes, h)
				}
			}
			for _, c := range l.Chunks {
				if !a.keys[c.Key] {
					a.keys[c.Key] = true
					a.l.Chunks = append(a.l.Chunks, c)
				}
			}
		}
	}
	out := make([]Timeline, 0, len(byID))
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		a := byID[id]
		slices.SortFunc(a.l.Chunks, compareChunks)
		out = append(out, a.l)
	}
	sortTimelines(out)
	return out
}
