package vault

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// This file is the only place that knows the names of a vault's objects.

// Names at the root of a vault.
const (
	descriptorKey = "vault.json"
	keysRoot      = "keys/"
	canaryKey     = "keys/canary.zst.age"
	passwordKey   = "keys/restic-password.zst.age"

	seedPrefix      = "keys/restic/"
	streamsRoot     = "streams/"
	basesRoot       = "bases/"
	resticRoot      = "restic/"
	objectsRoot     = "objects/"
	cutsRoot        = "cuts/"
	reportsRoot     = "reports/"
	watchedRoot     = "observations/"
	encryptedSuffix = ".zst.age"
	evidenceSuffix  = ".proof" + encryptedSuffix
	originName      = "origin" + encryptedSuffix
	holePrefix      = "hole-"
	recordName      = "record.json" + encryptedSuffix
	maxKeyBytes     = 900 // S3 allows 1024, prefix included
	maxClosedMS     = 1<<48 - 1
	chunkNameSize   = 16 + 1 + 16 + 1 + 12
)

// ValidName reports whether s can be a part of a key: a target, shard, group,
// timeline, base, cut or report name. The error is fail.Invalid.
func ValidName(s string) error {
	if len(s) > 200 || !targets.IsName(s) {
		return fail.New(fail.Invalid, "vault: name", strconv.Quote(s),
			"use letters, digits, '_', '-', '.', at most 200; begin with a letter, a digit or '_'", nil)
	}

	return nil
}

// validKey refuses keys that could leave the vault's root or that a file
// system and a bucket would not treat alike.
func validKey(key string) error {
	if key == "" || len(key) > maxKeyBytes {
		return fail.Newf(fail.Invalid, "vault: key", strconv.Quote(key), "empty or longer than %d bytes", maxKeyBytes)
	}

	for part := range strings.SplitSeq(key, "/") {
		if !targets.IsName(part) {
			return fail.Newf(fail.Invalid, "vault: key", strconv.Quote(key), "%q cannot be a part of a key", part)
		}
	}

	return nil
}

func shardPath(s targets.ShardID) string { return s.Target + "/" + s.Shard + "/" }

// StreamPrefix is where a shard's timelines are.
func StreamPrefix(s targets.ShardID) string { return streamsRoot + shardPath(s) }

// TimelinePrefix is where a timeline's origin and chunks are.
func TimelinePrefix(s targets.ShardID, timeline string) string {
	return StreamPrefix(s) + timeline + "/"
}

// OriginKey names the record of where a timeline begins.
func OriginKey(s targets.ShardID, timeline string) string {
	return TimelinePrefix(s, timeline) + originName
}

// ParseOriginKey is the inverse of OriginKey.
func ParseOriginKey(key string) (s targets.ShardID, timeline string, ok bool) {
	p := strings.Split(key, "/")
	if len(p) != 5 || p[0]+"/" != streamsRoot || p[4] != originName || validKey(key) != nil {
		return s, "", false
	}

	return targets.ShardID{Target: p[1], Shard: p[2]}, p[3], true
}

// HoleKey names the record of bytes [from, to) of a timeline that were given up:
// the server had lost them, and the archive went on at to.
func HoleKey(s targets.ShardID, timeline string, from, to uint64) string {
	return fmt.Sprintf("%s%s%016X-%016X%s", TimelinePrefix(s, timeline), holePrefix, from, to, encryptedSuffix)
}

// ParseHoleKey is the inverse of HoleKey.
func ParseHoleKey(key string) (timeline string, from, to uint64, ok bool) {
	p := strings.Split(key, "/")
	if len(p) != 5 || p[0]+"/" != streamsRoot || validKey(key) != nil {
		return "", 0, 0, false
	}

	name, found := strings.CutPrefix(strings.TrimSuffix(p[4], encryptedSuffix), holePrefix)
	if !found || len(name) != 33 || name[16] != '-' {
		return "", 0, 0, false
	}
	from, ok1 := upperHex(name[:16])
	to, ok2 := upperHex(name[17:])

	return p[3], from, to, ok1 && ok2 && from < to && to <= maxOffset && strings.HasSuffix(key, encryptedSuffix)
}

// MaxChunk is how long a chunk can be, in bytes: chunks are held in memory, so
// that no archiver writes longer ones, and a name that says more is not a chunk's.
const MaxChunk = 1 << 30

// maxOffset is beyond any log; differences of offsets stay inside an int64.
const maxOffset = 1 << 62

// ChunkName is what the key of a chunk says: bytes [From, To) of a timeline,
// cut off at Closed (UTC, milliseconds).
type ChunkName struct {
	Shard    targets.ShardID
	Timeline string
	From, To uint64
	Closed   time.Time
}

// Len is the number of bytes in the chunk.
func (c ChunkName) Len() uint64 { return c.To - c.From }

// Key is the inverse of ParseChunkKey.
func (c ChunkName) Key() string { return ChunkKey(c.Shard, c.Timeline, c.From, c.To, c.Closed) }

// ChunkKey names the chunk with bytes [from, to). Keys of a timeline sort by
// from, then to, then closed. Closed counts in milliseconds from 1970.
func ChunkKey(s targets.ShardID, timeline string, from, to uint64, closed time.Time) string {
	ms := min(max(closed.UnixMilli(), 0), maxClosedMS)
	return fmt.Sprintf("%s%016X-%016X-%012X%s", TimelinePrefix(s, timeline), from, to, ms, encryptedSuffix)
}

// ParseChunkKey is the inverse of ChunkKey; ok is false for any other key,
// an empty range and one longer than MaxChunk included.
func ParseChunkKey(key string) (c ChunkName, ok bool) {
	p := strings.Split(key, "/")
	if len(p) != 5 || p[0]+"/" != streamsRoot || validKey(key) != nil {
		return ChunkName{}, false
	}

	name, found := strings.CutSuffix(p[4], encryptedSuffix)
	if !found || len(name) != chunkNameSize || name[16] != '-' || name[33] != '-' {
		return ChunkName{}, false
	}
	from, ok1 := upperHex(name[:16])
	to, ok2 := upperHex(name[17:33])

	ms, ok3 := upperHex(name[34:])
	if !ok1 || !ok2 || !ok3 || from >= to || to-from > MaxChunk || to > maxOffset {
		return ChunkName{}, false
	}

	return ChunkName{
		Shard: targets.ShardID{Target: p[1], Shard: p[2]}, Timeline: p[3],
		From: from, To: to, Closed: time.UnixMilli(int64(ms)).UTC(),
	}, true
}

// upperHex reads digits 0-9A-F only, so that every chunk has exactly one name.
func upperHex(s string) (uint64, bool) {
	for _, r := range []byte(s) {
		if (r < '0' || r > '9') && (r < 'A' || r > 'F') {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 16, 64)

	return n, err == nil
}

// InStream reports whether the key is one that an archiver can have written: of
// an origin, a declared hole or a chunk.
func InStream(key string) bool {
	_, chunk := ParseChunkKey(key)
	_, _, origin := ParseOriginKey(key)
	_, _, _, hole := ParseHoleKey(key)

	return chunk || origin || hole
}

// BasesPrefix is where a shard's bases are.
func BasesPrefix(s targets.ShardID) string { return basesRoot + shardPath(s) }

// BaseRecordKey names the record of a base, written after everything else of it.
func BaseRecordKey(s targets.ShardID, id string) string {
	return BasesPrefix(s) + id + "/" + recordName
}

// ParseBaseRecordKey is the inverse of BaseRecordKey.
func ParseBaseRecordKey(key string) (s targets.ShardID, id string, ok bool) {
	p := strings.Split(key, "/")
	if len(p) != 5 || p[0]+"/" != basesRoot || p[4] != recordName || validKey(key) != nil {
		return s, "", false
	}

	return targets.ShardID{Target: p[1], Shard: p[2]}, p[3], true
}

// BaseFileKey names a small file kept beside a base.
func BaseFileKey(s targets.ShardID, id, name string) string {
	return BasesPrefix(s) + id + "/" + name + encryptedSuffix
}

// ResticPrefix is the root of a shard's restic repository.
func ResticPrefix(s targets.ShardID) string { return resticRoot + shardPath(s) }

// seedKey names the encrypted beginning of a shard's repository: its config and
// key file. Creating it decides who makes the repository.
func seedKey(s targets.ShardID) string {
	return seedPrefix + s.Target + "/" + s.Shard + encryptedSuffix
}

// SnapshotsPrefix is where a shard's object data and manifests are.
func SnapshotsPrefix(s targets.ShardID) string { return objectsRoot + shardPath(s) }

// ObjectsPrefix is where a shard's object data is, folded by the first two
// digits of the hash so that no folder grows too large.
func ObjectsPrefix(s targets.ShardID) string { return SnapshotsPrefix(s) + "data/" }

// ObjectKey names content by its SHA-256 (64 lower-case hex digits).
func ObjectKey(s targets.ShardID, sha string) string {
	if !targets.IsSHA256(sha) {
		return ObjectsPrefix(s) + "invalid hash" // refused by every store
	}

	return ObjectsPrefix(s) + sha[:2] + "/" + sha + encryptedSuffix
}

// ParseObjectKey is the inverse of ObjectKey.
func ParseObjectKey(key string) (s targets.ShardID, sha string, ok bool) {
	p := strings.Split(key, "/")
	if len(p) != 6 || p[0]+"/" != objectsRoot || p[3] != "data" || validKey(key) != nil {
		return s, "", false
	}

	sha, found := strings.CutSuffix(p[5], encryptedSuffix)
	if !found || !targets.IsSHA256(sha) || p[4] != sha[:2] {
		return s, "", false
	}

	return targets.ShardID{Target: p[1], Shard: p[2]}, sha, true
}

// ManifestsPrefix is where a shard's object manifests are.
func ManifestsPrefix(s targets.ShardID) string { return SnapshotsPrefix(s) + "manifests/" }

// ManifestKey names a manifest by when it was stored and its SHA-256, so that
// the newest sorts last.
func ManifestKey(s targets.ShardID, stored time.Time, sha string) string {
	return ManifestsPrefix(s) + msName(stored) + "-" + sha + encryptedSuffix
}

const decisionSuffix = ".decision" + encryptedSuffix

// condemnedPrefix is where the lists of a shard's condemned objects are.
func condemnedPrefix(s targets.ShardID) string { return SnapshotsPrefix(s) + "condemned/" }

// condemnedKey names a list by when it was made.
func condemnedKey(s targets.ShardID, made time.Time) string {
	return condemnedPrefix(s) + msName(made) + encryptedSuffix
}

// decisionKey names what was decided about a list.
func decisionKey(list string) string {
	return strings.TrimSuffix(list, encryptedSuffix) + decisionSuffix
}

// parseCondemnedKey is the inverse of condemnedKey. Of a decision's key it gives
// the time of the list, and false.
func parseCondemnedKey(key string) (made time.Time, ok bool) {
	name, _ := strings.CutSuffix(key[strings.LastIndexByte(key, '/')+1:], encryptedSuffix)
	name, decision := strings.CutSuffix(name, ".decision")
	ms, ok := upperHex(name)

	return time.UnixMilli(int64(ms)).UTC(), ok && !decision
}

func msName(t time.Time) string {
	return fmt.Sprintf("%012X", min(max(t.UnixMilli(), 0), maxClosedMS))
}

// ParseManifestKey is the inverse of ManifestKey.
func ParseManifestKey(key string) (s targets.ShardID, stored time.Time, sha string, ok bool) {
	p := strings.Split(key, "/")
	if len(p) != 5 || p[0]+"/" != objectsRoot || p[3] != "manifests" || validKey(key) != nil {
		return s, stored, "", false
	}

	name, found := strings.CutSuffix(p[4], encryptedSuffix)
	if !found || len(name) != 12+1+64 || name[12] != '-' || !targets.IsSHA256(name[13:]) {
		return s, stored, "", false
	}

	ms, okMS := upperHex(name[:12])
	if !okMS {
		return s, stored, "", false
	}

	return targets.ShardID{Target: p[1], Shard: p[2]}, time.UnixMilli(int64(ms)).UTC(), name[13:], true
}

// CutsPrefix is where a group's cuts are.
func CutsPrefix(group string) string { return cutsRoot + group + "/" }

// CutKey names a sealed cut.
func CutKey(group, id string) string { return CutsPrefix(group) + id + ".json" + encryptedSuffix }

// EvidenceKey names the evidence of a cut that was read out of the logs.
func EvidenceKey(group, id string) string { return CutsPrefix(group) + id + evidenceSuffix }

// ParseEvidenceKey is when the cut's id was made whose evidence a key names, of an id that was made by this program.
func ParseEvidenceKey(key string) (made time.Time, ok bool) {
	id, ok := strings.CutSuffix(key[strings.LastIndexByte(key, '/')+1:], evidenceSuffix)
	if !ok {
		return made, false
	}

	return targets.ParseIDTime(id)
}

// ParseCutKey is the inverse of CutKey.
func ParseCutKey(key string) (group, id string, ok bool) {
	p := strings.Split(key, "/")
	if len(p) != 3 || p[0]+"/" != cutsRoot || validKey(key) != nil {
		return "", "", false
	}
	id, ok = strings.CutSuffix(p[2], ".json"+encryptedSuffix)

	return p[1], id, ok && id != ""
}

// ObservationName is what the key of a batch of observations says: what one
// observer saw of a group from Began to Ended, by its wall clock (milliseconds).
type ObservationName struct {
	Group, Observer string
	Began, Ended    time.Time
	// Flat is how it was stored before there were folders.
	Flat bool
}

// ObservationFolder is how much time, by when they began, batches of one folder are of: a
// listing reads a folder of a directory whole.
const ObservationFolder = (1 << 20) * time.Millisecond

// Key is the inverse of ParseObservationKey. Keys of a group sort by Began, but for flat ones:
// they follow the folder of their time.
func (o ObservationName) Key() string {
	at := ObservationsFrom(o.Group, o.Began)
	if o.Flat {
		at = ObservationsPrefix(o.Group) + msName(o.Began)
	}

	return at + "-" + msName(o.Ended) + "-" + o.Observer + encryptedSuffix
}

// ObservationsPrefix is where a group's observations are.
func ObservationsPrefix(group string) string { return watchedRoot + group + "/" }

// ObservationsFrom sorts before the keys of all batches that began at t or later,
// and after those of earlier ones that are in folders.
func ObservationsFrom(group string, t time.Time) string {
	return ObservationsPrefix(group) + msName(t)[:7] + "/" + msName(t)
}

// ParseObservationKey is the inverse of Key; ok is false for any other key.
func ParseObservationKey(key string) (o ObservationName, ok bool) {
	p := strings.Split(key, "/")
	if len(p) < 3 || len(p[len(p)-1]) < 26 {
		return o, false
	}
	name := p[len(p)-1]
	began, ok1 := upperHex(name[:12])
	ended, ok2 := upperHex(name[13:25])
	o = ObservationName{p[1], strings.TrimSuffix(name[26:], encryptedSuffix), time.UnixMilli(int64(began)).UTC(), time.UnixMilli(int64(ended)).UTC(), len(p) == 3}

	return o, ok1 && ok2 && began <= ended && ValidName(o.Observer) == nil && validKey(key) == nil && o.Key() == key
}

// ReportsPrefix is where the reports of a kind are.
func ReportsPrefix(kind string) string { return reportsRoot + kind + "/" }

// ReportKey names a report.
func ReportKey(kind, id string) string { return ReportsPrefix(kind) + id + ".json" + encryptedSuffix }

// comesBack reports whether the key is of the kind that retention deletes and
// that a copy from another vault may bring back: it names its content, or a
// place in a log, or carries an id that was made once. Nothing else is ever
// stored under it. The decision on a condemned list is the exception: there the
// first of two different ones is to stand.
func comesBack(key string) bool {
	if strings.HasSuffix(key, decisionSuffix) {
		return false
	}

	for _, root := range []string{streamsRoot, basesRoot, objectsRoot, resticRoot, cutsRoot, reportsRoot, watchedRoot} {
		if strings.HasPrefix(key, root) {
			return true
		}
	}

	return false
}

// isEncrypted reports whether the key holds an encrypted object.
func isEncrypted(key string) bool { return strings.HasSuffix(key, encryptedSuffix) }
