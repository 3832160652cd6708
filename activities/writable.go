package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

const (
	// probeLimit is how long an instance may take to say whether it is writable,
	// probeGrace how long the others may when one has said that it is: a region
	// that is lost must not hold up every cut.
	probeLimit = 5 * time.Second
	probeGrace = 2 * time.Second
)

// probed is an instance with what it said of itself.
type probed struct {
	in  targets.Instance
	d   targets.Driver
	st  targets.Status
	err error
}

// writable resolves the shard's instance that accepts writes: the configured
// primary, or the one that was promoted since. Of several that do, it is the one
// that was promoted last: the others are former primaries that came back. It is
// a conflict when their logs do not tell. It returns the configured primary's error when no instance
// accepts writes.
func (a *Activities) writable(ctx context.Context, shard targets.ShardID) (targets.Instance, targets.Driver, error) {
	regions := a.Platform.Regions(shard)
	if len(regions) == 0 {
		return targets.Instance{}, nil, fail.Newf(fail.NotFound, "find the primary", shard.String(), "the configuration names no instance of this shard")
	}
	all := make([]probed, len(regions))
	for i, r := range regions {
		var err error
		if all[i].in, err = a.Platform.Instance(ctx, shard, r); err != nil {
			return all[i].in, nil, err
		}
		if all[i].d, err = a.driver(all[i].in.Kind); err != nil {
			return all[i].in, nil, err
		}
	}
	if len(all) == 1 {
		return all[0].in, all[0].d, nil
	}
	probeAll(ctx, all)
	x, err := choose(all)
	if text := TwoWriters(writersOf(all)); text != "" && err == nil {
		a.Log.WarnContext(ctx, text, "shard", shard.String())
	}
	return x.in, x.d, err
}

// probeAll asks every instance at once. One that has not answered in time has
// an error.
func probeAll(ctx context.Context, all []probed) {
	type answer struct {
		i   int
		st  targets.Status
		err error
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	answers := make(chan answer, len(all))
	for i, x := range all {
		all[i].err = fail.Newf(fail.Unavailable, "find the primary", x.in.String(), "the instance does not answer")
		go func() {
			st, err := x.d.Reach(ctx, x.in)
			answers <- answer{i, st, err}
		}()
	}
	var grace <-chan time.Time
	for range all {
		select {
		case r := <-answers:
			all[r.i].st, all[r.i].err = r.st, r.err
			if r.err == nil && r.st.Writable && grace == nil {
				grace = time.After(probeGrace)
			}
		case <-grace:
			return
		}
	}
}

// choose picks the primary; all are in the order of the configuration. Of
// several that accept writes it is the one that was promoted last. A bucket
// knows nothing of promotions: the first one stands.
func choose(all []probed) (probed, error) {
	var writable []probed
	var first error
	for _, x := range all {
		err := x.err
		if err == nil && x.st.Writable {
			x.in.Role = targets.Primary
			writable = append(writable, x)
			continue
		}
		if err == nil {
			err = fail.New(fail.Unavailable, "find the primary", x.in.String(), "promote a standby, or mend the configuration", errors.New("the instance does not accept writes"))
		}
		if first == nil {
			first = err
		}
	}
	switch {
	case len(writable) == 0:
		return probed{}, first
	case len(writable) == 1 || writable[0].in.Kind.Traits().Manifest:
		return writable[0], nil
	}
	i, ok := promotedLast(writersOf(writable))
	if !ok {
		return probed{}, fail.New(fail.Conflict, "find the primary", writable[0].in.Shard.String(),
			"stop the wrong one before anything else is written to it", errors.New("more than one server accepts writes: "+names(writersOf(writable))))
	}
	return writable[i], nil
}

func writersOf(all []probed) []Writer {
	var out []Writer
	for _, x := range all {
		if x.err == nil && x.st.Writable {
			out = append(out, Writer{Name: x.in.String(), Position: x.st.Position, Parent: x.st.Parent})
		}
	}
	return out
}

// Writer is a server that says of itself that it accepts writes.
type Writer struct {
	Name     string
	Position targets.Position
	Parent   targets.Position
}

// TwoWriters says what is wrong when more than one server of a shard that has a
// log accepts writes, which of them is followed, and what to do; ""
// when nothing is wrong.
func TwoWriters(ws []Writer) string {
	if len(ws) < 2 || ws[0].Position.Kind.Traits().Manifest {
		return ""
	}
	i, ok := promotedLast(ws)
	if !ok {
		return "more than one server takes writes: " + names(ws) + ": neither was promoted from the other, so there are no cuts and no archive; stop the wrong one before anything else is written to it"
	}
	return fmt.Sprintf("more than one server takes writes: %s: %s was promoted last, and archive, bases and cuts follow it; what the others take is lost to a recovery: stop them, or make them its standbys",
		names(ws), ws[i].Name)
}

// promotedLast returns the server that was promoted, by way of others or
// directly, from all the others; ok is false when there is none.
func promotedLast(ws []Writer) (last int, ok bool) {
	for i := range ws {
		before := map[int]bool{i: true}
		for range ws {
			for x := range before {
				for y := range ws {
					if ws[x].promotedFrom(ws[y]) {
						before[y] = true
					}
				}
			}
		}
		if len(before) == len(ws) {
			return i, true
		}
	}
	return 0, false
}

// promotedFrom reports whether the server went on where the other's log was
// left: on a higher timeline of the same cluster (PostgreSQL), or under a new
// replication id with the other's as its parent (Redis).
func (w Writer) promotedFrom(o Writer) bool {
	if w.Position.Kind == targets.Redis {
		return w.Parent.Timeline != "" && w.Parent.Timeline == o.Position.Timeline
	}
	sys, tli, err := targets.ParsePostgresTimeline(w.Position.Timeline)
	other, older, oerr := targets.ParsePostgresTimeline(o.Position.Timeline)
	return err == nil && oerr == nil && sys == other && tli > older
}

func names(ws []Writer) string {
	out := make([]string, len(ws))
	for i, w := range ws {
		out[i] = w.Name + " with replication id " + w.Position.Timeline
		if sys, tli, err := targets.ParsePostgresTimeline(w.Position.Timeline); err == nil {
			out[i] = fmt.Sprintf("%s on timeline %d of cluster %s", w.Name, tli, sys)
		}
	}
	return strings.Join(out, ", ")
}
