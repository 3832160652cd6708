package halfdone

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"time"

	"drctl/internal/proof"
	"drctl/internal/proof/search/tag"
	"drctl/targets"
	"drctl/targets/handover"
)

// Log is what was read of the log of a shard's new primary: the old timeline up to where it left that, and its own
// as far as it has come.
type Log struct {
	Shard   targets.ShardID
	Records []proof.Record // with a tag or a gid, in the order of the log
	// Fork is where its own timeline begins; 0 where that was not read.
	Fork uint64
	// Since is from when on all of them are there; Why says why not, where they are not.
	Since time.Time
	Why   string
	// All says that the vault has nothing of the shard that is older.
	All bool
}

// own reports whether a record was written by the new primary, since it was promoted.
func (l Log) own(r proof.Record) bool { return l.Fork > 0 && r.Start >= l.Fork }

// fate is what the logs say of one global transaction in two phases.
type fate struct {
	committed, aborted []Part
	prepares           map[targets.ShardID]int
}

// Decide says what becomes of what is prepared on each shard. gids is the rule by which gids of
// different shards belong together; nil: those that are equal.
func Decide(doubts map[targets.ShardID][]handover.Doubt, logs []Log, gids *regexp.Regexp) map[targets.ShardID][]targets.InDoubt {
	fates, nameless := fatesOf(logs, gids)
	out := map[targets.ShardID][]targets.InDoubt{}

	for shard, all := range doubts {
		for _, d := range all {
			key, name := group(shard, string(d.GID), gids)
			x := targets.InDoubt{GID: d.GID, Group: name[:min(len(name), 1000)]}

			x.Action, x.Reason = targets.InDoubtLeave, began(logs, shard, d)
			if x.Reason == "" {
				x.Action, x.Reason = ruled(fates[key], d, unread(logs, d.Since, nameless))
			}
			out[shard] = append(out[shard], x)
		}
	}

	return out
}

// began says why a transaction is none that the old primary left; "" when it is. One that a client has
// prepared since the promotion is that client's.
func began(logs []Log, shard targets.ShardID, d handover.Doubt) string {
	why := "its preparation is not in the log that was read"

	for _, l := range logs {
		if l.Shard != shard {
			continue
		}

		if l.Why != "" {
			why += ": " + l.Why
		}

		for _, r := range l.Records {
			switch {
			case r.GID != string(d.GID):
			case r.Kind != proof.Prepare: // it has ended, so what is there was prepared later
				why = "its id was used before, and its own preparation is not in the log that was read"
			case l.own(r):
				why = "it was prepared on the new primary, after the promotion"
			default:
				why = ""
			}
		}
	}

	return why
}

// unread says why what is prepared since a time cannot be decided; "" when all was read. The
// clocks of servers and archivers may differ.
func unread(logs []Log, since time.Time, nameless targets.ShardID) string {
	for _, l := range logs {
		if l.Why != "" {
			return fmt.Sprintf("the log of %s was not read: %s", l.Shard, l.Why)
		}

		if !l.Since.Before(since.Add(-Apart)) {
			return fmt.Sprintf("the log of %s was read from %s on only", l.Shard, l.Since.UTC().Format(time.RFC3339))
		}
	}

	if nameless != (targets.ShardID{}) {
		return fmt.Sprintf("%s ended a transaction that was prepared before the log that was read", nameless)
	}

	return ""
}

// Apart is how far clocks may be apart.
const Apart = time.Minute

// ruled is the rule.
func ruled(f *fate, d handover.Doubt, unread string) (targets.InDoubtAction, string) {
	if f == nil {
		f = &fate{}
	}

	for shard, n := range f.prepares {
		if n > 1 {
			return targets.InDoubtLeave, fmt.Sprintf("its id was used %d times on %s: which of them is meant is not known", n, shard)
		}
	}

	for _, p := range f.committed { // all parts are prepared before the first is committed
		if p.At.Before(d.Since) {
			return targets.InDoubtLeave, fmt.Sprintf("its id was committed on %s before it was prepared here: either the id was used before, or the clocks are apart", p.Shard)
		}
	}

	switch {
	case len(f.committed) > 0 && len(f.aborted) > 0:
		return targets.InDoubtLeave, fmt.Sprintf("a part of its global transaction is committed on %s, and another rolled back on %s", f.committed[0].Shard, f.aborted[0].Shard)
	case len(f.committed) > 0:
		return targets.InDoubtCommit, fmt.Sprintf("a part of its global transaction is committed on %s", f.committed[0].Shard)
	case unread != "":
		return targets.InDoubtLeave, "whether a part of its global transaction was committed is not known: " + unread
	case len(f.aborted) > 0:
		return targets.InDoubtRollBack, fmt.Sprintf("a part of its global transaction is rolled back on %s", f.aborted[0].Shard)
	}

	return targets.InDoubtRollBack, "no part of its global transaction is committed on a new primary"
}

// fatesOf reads how global transactions ended, by their names, and names a shard that ended
// one of which only its end was read.
func fatesOf(logs []Log, gids *regexp.Regexp) (map[string]*fate, targets.ShardID) {
	all := map[string]*fate{}

	var nameless targets.ShardID

	for _, l := range logs {
		for _, r := range l.Records {
			if r.Kind == proof.Commit {
				continue
			}

			if r.GID == "" {
				nameless = l.Shard
				continue
			}

			key, _ := group(l.Shard, r.GID, gids)

			f := all[key]
			if f == nil {
				f = &fate{prepares: map[targets.ShardID]int{}}
				all[key] = f
			}

			switch r.Kind {
			case proof.Prepare:
				f.prepares[l.Shard]++
			case proof.CommitPrepared:
				f.committed = append(f.committed, part(l.Shard, r))
			case proof.AbortPrepared:
				f.aborted = append(f.aborted, part(l.Shard, r))
			}
		}
	}

	return all, nameless
}

// group is the global transaction of a gid, and its name. A gid that the rule does not know is
// a transaction of that shard alone.
func group(shard targets.ShardID, gid string, gids *regexp.Regexp) (key, name string) {
	if gids == nil {
		return gid, gid
	}

	switch found := gids.FindStringSubmatch(gid); len(found) {
	case 0:
		return shard.String() + "\x00" + gid, gid
	case 1:
		return found[0], found[0]
	default:
		return found[1], found[1]
	}
}

// Half is a tagged global transaction of which a part is on no new primary.
type Half struct {
	ID string `json:"id"`
	// Want is how many parts it has; 0: its last part is missing, and it does not say how many there are.
	Want int    `json:"want,omitempty"`
	Have []Part `json:"have"`
}

// Part is a part that is there.
type Part struct {
	Shard targets.ShardID `json:"shard"`
	At    time.Time       `json:"at"` // by the clock of the old server
}

func part(shard targets.ShardID, r proof.Record) Part {
	return Part{Shard: shard, At: time.Unix(0, int64(r.Stamp)).UTC()}
}

// Words are for people.
func (h Half) Words() string {
	text := fmt.Sprintf("global transaction %q is half done: %d of %d parts are there", h.ID, len(h.Have), h.Want)
	if h.Want == 0 {
		text = fmt.Sprintf("global transaction %q is half done: its last part is not there", h.ID)
	}

	for _, p := range h.Have {
		text += fmt.Sprintf(", on %s at %s", p.Shard, p.At.UTC().Format("2006-01-02T15:04:05.000Z"))
	}

	return text
}

// HalfDone lists the tagged global transactions of which a part is missing, the youngest first. What
// began before the logs that were read is left out: its other parts may lie before them. So is what began after the
// promotions: clients are at it. Parts in two phases count once they are committed, by whomever.
func HalfDone(logs []Log) (out []Half) {
	all := map[string]*Half{}
	closed, left := map[string]bool{}, map[string]bool{}

	var since time.Time
	for _, l := range logs {
		if l.Since.After(since) {
			since = l.Since
		}
	}

	for _, l := range logs {
		for _, r := range l.Records {
			if r.Kind != proof.Commit && r.Kind != proof.CommitPrepared {
				continue
			}

			for _, text := range r.Tags {
				t := tag.Parse(text)

				h := all[t.ID]
				if h == nil {
					h = &Half{ID: t.ID}
					all[t.ID] = h
				}
				h.Want, closed[t.ID] = max(h.Want, t.Want), closed[t.ID] || t.Last
				left[t.ID] = left[t.ID] || !l.own(r)
				h.Have = append(h.Have, part(l.Shard, r))
			}
		}
	}

	for id, h := range all {
		slices.SortFunc(h.Have, func(a, b Part) int { return cmp.Or(a.At.Compare(b.At), a.Shard.Compare(b.Shard)) })

		if !left[id] || closed[id] || h.Want > 0 && len(h.Have) >= h.Want || h.Have[0].At.Before(since.Add(Apart)) {
			continue
		}
		out = append(out, *h)
	}

	slices.SortFunc(out, func(a, b Half) int { return cmp.Or(b.Have[0].At.Compare(a.Have[0].At), cmp.Compare(a.ID, b.ID)) })

	return out
}
