package targets

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// The values below come from a vault, which others may be able to write, or
// with a workflow. Some of them become arguments of programs, paths, lines of a
// server's configuration or sizes of memory. Each type therefore has one Check,
// which says what is wrong with a value; nothing is used before it has passed.
// What Check refuses is not written to a vault either.

// ClockLead is how far in the future a time in a record may lie, by the clock
// of who reads it: what S3 servers allow between two clocks as well. A record
// that is later than that would be the newest of all for ever.
const ClockLead = 15 * time.Minute

const (
	maxName = 200
	maxText = 1024
	maxPath = 4096
	// maxOffset keeps differences of offsets inside an int64.
	maxOffset = 1 << 62
	// maxBytes is more than any shard holds: 1 EiB.
	maxBytes = 1 << 60
	// maxCount bounds counters and the lengths of lists.
	maxCount = 1 << 40
	maxList  = 100_000
)

var (
	nameRE        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:@+=-]*$`)
	shaRE         = regexp.MustCompile(`^[0-9a-f]{64}$`)
	oidRE         = regexp.MustCompile(`^[1-9][0-9]{0,9}$`)
	numberRE      = regexp.MustCompile(`^[0-9]{1,18}$`)
	settingRE     = regexp.MustCompile(`^[a-z][a-z0-9_.-]{0,62}$`) // rename-command.restore-asking, max_connections
	methodRE      = regexp.MustCompile(`^[a-z]{1,32}$`)
	pgTimelineRE  = regexp.MustCompile(`^[0-9]{1,20}-[0-9A-F]{8}$`)
	replicationRE = regexp.MustCompile(`^[0-9a-f]{40}$`)
	pointRE       = regexp.MustCompile(`^drctl:[0-9A-Za-z._-]{1,56}$`)
)

// IsName reports whether s can be one part of a vault's key: it begins with a
// letter, a digit or "_", so it is neither an option nor a hidden file nor "..",
// and it holds no "/".
func IsName(s string) bool { return nameRE.MatchString(s) }

// IsSHA256 reports whether s is a SHA-256 in lower-case hex, which is also what
// restic calls its snapshots.
func IsSHA256(s string) bool { return shaRE.MatchString(s) }

func checkName(what, s string) error {
	if len(s) > maxName || !IsName(s) {
		return fmt.Errorf("%s %.80q is not a name", what, s)
	}

	return nil
}

// CheckText refuses text that is too long or would break a line.
func CheckText(what, s string) error {
	if len(s) > maxText || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%s %.80q is too long or holds control characters", what, s)
	}

	return nil
}

// CheckPath refuses a path that is not absolute or not in its shortest form.
func CheckPath(what, s string) error {
	if len(s) > maxPath || !path.IsAbs(s) || path.Clean(s) != s || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%s %.80q is not an absolute, clean path", what, s)
	}

	return nil
}

func checkForm(what, s string, form *regexp.Regexp) error {
	if !form.MatchString(s) {
		return fmt.Errorf("%s %.80q does not have the form %s", what, s, form)
	}

	return nil
}

func checkRange(what string, n, most int64) error {
	if n < 0 || n > most {
		return fmt.Errorf("%s %d is not between 0 and %d", what, n, most)
	}

	return nil
}

func checkPast(what string, t, now time.Time) error {
	if t.After(now.Add(ClockLead)) {
		return fmt.Errorf("%s %s lies in the future, by the clock of this host (%s): compare the clocks",
			what, t.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}

	return nil
}

// Check reports what is wrong with an id.
func (s ShardID) Check() error {
	return cmp.Or(checkName("target", s.Target), checkName("shard", s.Shard))
}

// Check reports an unknown kind.
func (k Kind) Check() error {
	if _, ok := traits[k]; !ok {
		return fmt.Errorf("kind %.80q is not known", string(k))
	}

	return nil
}

// CheckTimeline reports a timeline that no server of the kind can have.
func (k Kind) CheckTimeline(timeline string) error {
	switch k {
	case Postgres:
		return checkForm("timeline", timeline, pgTimelineRE)
	case Redis:
		return checkForm("timeline", timeline, replicationRE)
	case S3:
		if timeline != "" {
			return fmt.Errorf("an object store has no timeline, not %.80q", timeline)
		}

		return nil
	}

	return k.Check()
}

func checkOffset(n uint64) error {
	if n > maxOffset {
		return fmt.Errorf("offset %d is over %d", n, uint64(maxOffset))
	}

	return nil
}

// Check reports what is wrong with a position.
func (p Position) Check() error {
	err := cmp.Or(p.Kind.CheckTimeline(p.Timeline), checkOffset(p.Offset))
	if err == nil && p.RestorePoint != "" {
		err = checkForm("restore point", p.RestorePoint, pointRE)
	}

	if err == nil && p.Manifest != "" {
		err = checkForm("manifest", p.Manifest, shaRE)
	}

	return err
}

// Check reports what is wrong with a span of a log of the kind.
func (s Span) Check(k Kind) error {
	err := cmp.Or(k.CheckTimeline(s.Timeline), checkOffset(s.To))
	if err == nil && s.From > s.To {
		err = fmt.Errorf("the range [%d,%d) runs backwards", s.From, s.To)
	}

	return err
}

// Check reports what is wrong with a point of a cut.
func (p ShardPoint) Check() error {
	err := cmp.Or(p.Shard.Check(), p.Kind.Check(), checkName("region", p.Region), CheckText("instance", p.Instance),
		p.Position.Check(), checkRange("number of objects", p.Objects, maxCount), checkRange("size", p.Bytes, maxBytes), CheckInDoubt(p.InDoubt), p.Locked.check())
	if err == nil && p.Position.Kind != p.Kind {
		err = fmt.Errorf("the position is of kind %s, the shard of kind %s", p.Position.Kind, p.Kind)
	}

	return err
}

// Check reports what is wrong with the record of a cut, by a clock.
func (c Cut) Check(now time.Time) error {
	err := cmp.Or(checkName("cut", c.ID), checkName("group", c.Group), CheckText("mode", string(c.Mode)), CheckText("tool", c.Tool),
		checkRange("number of attempts", int64(c.Attempts), maxCount), checkRange("number of shards", int64(len(c.Shards)), maxList),
		checkRange("number of vaults", int64(len(c.SealedIn)), maxList),
		checkPast("the cut was taken at", c.QuiescedAt, now), checkPast("the cut was sealed at", c.SealedAt, now),
		CheckText("name of the moment", c.Name), c.Proof.Check(now), c.checkWithout())
	if err != nil {
		return err
	}

	for _, r := range c.SealedIn {
		if err := checkName("region", r); err != nil {
			return err
		}
	}

	seen := make(map[ShardID]bool, len(c.Shards))
	for _, p := range c.Shards {
		if err := p.Check(); err != nil {
			return fmt.Errorf("point of shard %.80q: %w", p.Shard, err)
		}

		if seen[p.Shard] {
			return fmt.Errorf("shard %s has two points", p.Shard)
		}
		seen[p.Shard] = true
	}

	return nil
}

// Check reports what is wrong with the record of a base, by a clock.
func (a Artifact) Check(now time.Time) error {
	err := cmp.Or(checkName("base", a.ID), a.Shard.Check(), a.Kind.Check(), checkName("region", a.Region),
		checkForm("snapshot", a.Snapshot, shaRE), CheckPath("path", a.Path), checkForm("method", a.Method, methodRE),
		checkPast("the base was begun at", a.Started, now), checkPast("the base was finished at", a.Finished, now),
		checkRange("size", a.Bytes, maxBytes), checkRange("size", a.BytesAdded, maxBytes),
		checkRange("number of bases since a full one", int64(a.SinceFull), maxCount),
		a.checkRange(), a.checkFiles(), a.checkSettings())
	if err != nil {
		return err
	}

	for oid, where := range a.Tablespaces {
		if _, err := ParseTablespace(oid, where); err != nil {
			return err
		}
	}

	return nil
}

// checkRange checks what of the stream the base says that it needs.
func (a Artifact) checkRange() error {
	for _, p := range []Position{a.From, a.Until} {
		if p.Kind != a.Kind {
			return fmt.Errorf("a position is of kind %q, the base of kind %q", p.Kind, a.Kind)
		}

		if err := p.Check(); err != nil {
			return err
		}
	}

	if a.From.Timeline == a.Until.Timeline && a.From.Offset > a.Until.Offset {
		return fmt.Errorf("the base is consistent at %d, before it begins at %d", a.Until.Offset, a.From.Offset)
	}

	return nil
}

func (a Artifact) checkFiles() error {
	for name, sum := range a.Files {
		if err := cmp.Or(checkName("file", name), checkForm("SHA-256", sum, shaRE)); err != nil {
			return err
		}
	}

	return nil
}

// checkSettings keeps every value on its line of a configuration file, where
// people put them without quotes too: what a replay needs are numbers.
func (a Artifact) checkSettings() error {
	for name, value := range a.Settings {
		if err := cmp.Or(checkForm("setting", name, settingRE), CheckText("setting "+name, value)); err != nil {
			return err
		}

		number := strings.HasPrefix(name, "max_") || slices.Contains([]string{"server_version_num", "wal_segment_size", "block_size"}, name)
		if number && !numberRE.MatchString(value) {
			return fmt.Errorf("setting %s is %.80q and not a number", name, value)
		}
	}

	return nil
}

// Tablespace is where a tablespace of a base was, and where its files are.
type Tablespace struct {
	OID      string
	Location string // on the server
	Snapshot string // restic snapshot id
	Path     string // of the folder inside it
}

// String is the form that ParseTablespace reads: "<location>=<snapshot id>:<path>".
func (t Tablespace) String() string { return t.Location + "=" + t.Snapshot + ":" + t.Path }

// ParseTablespace reads one of an Artifact's Tablespaces.
func ParseTablespace(oid, where string) (Tablespace, error) {
	location, folder, ok := strings.Cut(where, "=")
	snapshot, dir, ok2 := strings.Cut(folder, ":")

	err := checkForm("tablespace", oid, oidRE)
	if err == nil && (!ok || !ok2) {
		err = errors.New("it names no snapshot")
	}

	if err == nil {
		err = cmp.Or(CheckPath("location", location), checkForm("snapshot", snapshot, shaRE), CheckPath("path", dir))
	}

	if err != nil {
		return Tablespace{}, fmt.Errorf("tablespace %.80q: %w", oid, err)
	}

	return Tablespace{OID: oid, Location: location, Snapshot: snapshot, Path: dir}, nil
}
