package s3

import (
	"context"
	"iter"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"drctl/internal/fail"
	"drctl/internal/manifest"
)

// Slack is how close to the instant of a snapshot LastModified is not trusted.
const Slack = 2 * time.Second

// listed is an object as a listing shows it.
type listed struct {
	Key       string
	VersionID string // "" without versioning
	ETag      string
	Size      int64
	Modified  time.Time
	unnamed   bool // the server does not give the key; Key is how it shows it
}

// shown is the key as the server shows it, with what tells the object apart.
func (l listed) shown() string {
	if l.VersionID == "" {
		return strconv.QuoteToASCII(l.Key)
	}

	return strconv.QuoteToASCII(l.Key) + " version " + l.VersionID
}

// mutable reports whether a put replaces this very version: without versioning,
// or while it is suspended.
func (l listed) mutable() bool { return l.VersionID == "" || l.VersionID == "null" }

func listedKey(l *listed) string        { return l.Key }
func entryKey(e *manifest.Entry) string { return e.Key }

// ordered passes a listing on and refuses one that does not ascend: everything
// here merges sorted sequences, and would silently lose objects otherwise. An
// object without a name is told to the bucket's unnamed, or refused.
func (b *bucket) ordered(seq iter.Seq2[listed, error]) iter.Seq2[listed, error] {
	return func(yield func(listed, error) bool) {
		last, first := "", true
		for l, err := range seq {
			switch {
			case err != nil:
			case l.unnamed && b.unnamed != nil:
				b.unnamed(l)
				continue
			case l.unnamed:
				err = b.noName(l.Key)
			default:
				err = b.checkKey(l.Key, last, first)
			}

			if err != nil {
				yield(listed{}, err)
				return
			}

			last, first = l.Key, false
			if !yield(l, nil) {
				return
			}
		}
	}
}

// noName refuses what the server does not name.
func (b *bucket) noName(shown string) error {
	return fail.New(fail.Unsupported, "s3: list", b.subject(shown), unnamedHint, errKey("the server cannot name this key in a listing, so it cannot be saved"))
}

const unnamedHint = "rename the object with the program that made it, or remove it; or allow cuts without it: cut.unnameable: skip in the policy"

func (b *bucket) checkKey(key, last string, first bool) error {
	const op = "s3: list"
	switch {
	case !first && key == last:
		return fail.New(fail.Unsupported, op, b.subject(key), "", errKey("the server lists a key twice"))
	case !first && key < last:
		return fail.New(fail.Unsupported, op, b.subject(key), "use a server that lists keys in ascending order of their bytes", errKey("the server lists it after "+last))
	}

	return nil
}

type errKey string

func (e errKey) Error() string { return string(e) }

// decoder undoes the encoding that was asked for, if the server applied it.
// named is false when the key is not the one that the object has: XML cannot
// hold every character, and a server that does not encode puts U+FFFD in the
// place of those. A U+FFFD that was encoded is the key's own. A key that is not
// UTF-8 has no place in a manifest.
func decoder(encoding types.EncodingType) func(*string) (key string, named bool) {
	return func(s *string) (string, bool) {
		raw := aws.ToString(s)

		key := raw
		if encoding == types.EncodingTypeUrl {
			if d, err := url.QueryUnescape(raw); err == nil {
				key = d
			}
		}

		return key, utf8.ValidString(key) && !strings.ContainsRune(raw, utf8.RuneError)
	}
}

// goesOn refuses a place to go on at that the server does not name: what is
// between it and where the server takes it to be would be lost without a word.
func (b *bucket) goesOn(at string) error {
	if utf8.ValidString(at) && !strings.ContainsRune(at, utf8.RuneError) {
		return nil
	}

	return fail.New(fail.Unsupported, "s3: list", b.subject(at), "rename or remove the object with this key and its versions", errKey("the listing goes on at a key that the server cannot name, so its rest cannot be read"))
}

// current lists the objects that are there now.
func (b *bucket) current(ctx context.Context) iter.Seq2[listed, error] {
	return b.ordered(func(yield func(listed, error) bool) {
		in := &awss3.ListObjectsV2Input{Bucket: b.name, EncodingType: types.EncodingTypeUrl}
		if b.in.Prefix != "" {
			in.Prefix = aws.String(b.in.Prefix)
		}

		for {
			out, err := b.ListObjectsV2(ctx, in)
			if err != nil {
				yield(listed{}, b.fail(ctx, "list", "", err))
				return
			}

			key := decoder(out.EncodingType)
			for _, o := range out.Contents {
				name, named := key(o.Key)

				l := listed{Key: name, unnamed: !named, ETag: aws.ToString(o.ETag), Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified).UTC()}
				if !yield(l, nil) {
					return
				}
			}

			if !aws.ToBool(out.IsTruncated) {
				return
			}

			next := aws.ToString(out.NextContinuationToken)
			if next == "" || next == aws.ToString(in.ContinuationToken) {
				yield(listed{}, fail.Newf(fail.Unsupported, "s3: list", b.subject(""), "the server cuts the listing short and does not say where it goes on"))
				return
			}

			if err := b.goesOn(next); err != nil {
				yield(listed{}, err)
				return
			}
			in.ContinuationToken = aws.String(next)
		}
	})
}

// asOf lists what a versioned bucket held at an instant of the server's clock.
func (b *bucket) asOf(ctx context.Context, at time.Time) iter.Seq2[listed, error] {
	return b.ordered(func(yield func(listed, error) bool) {
		in := &awss3.ListObjectVersionsInput{Bucket: b.name, EncodingType: types.EncodingTypeUrl}
		if b.in.Prefix != "" {
			in.Prefix = aws.String(b.in.Prefix)
		}

		if b.pageSize > 0 {
			in.MaxKeys = &b.pageSize
		}
		open, odd := history{at: at}, oddities{at: at, known: map[string]*history{}, told: map[string]bool{}}

		emit := func() bool {
			l, ok := open.pick()
			return !ok || yield(l, nil)
		}
		for {
			out, err := b.ListObjectVersions(ctx, in)
			if err != nil {
				yield(listed{}, b.fail(ctx, "list versions", "", err))
				return
			}

			for ev := range events(out) {
				if ev.unnamed {
					if l, ok := odd.add(ev); ok && !yield(l, nil) {
						return
					}

					continue
				}

				if ev.Key != open.key {
					if open.key != "" && !emit() {
						return
					}
					// An older key again would begin a second history and win
					// or lose by chance: ordered refuses it only when picked.
					if ev.Key < open.key {
						yield(listed{}, b.checkKey(ev.Key, open.key, false))
						return
					}
					open = history{at: at, key: ev.Key}
				}

				open.add(ev)
			}

			if !aws.ToBool(out.IsTruncated) {
				break
			}
			key, named := decoder(out.EncodingType)(out.NextKeyMarker)
			version := aws.ToString(out.NextVersionIdMarker)

			if !named {
				yield(listed{}, b.goesOn(string(utf8.RuneError)+key))
				return
			}

			if key == "" || key == aws.ToString(in.KeyMarker) && version == aws.ToString(in.VersionIdMarker) {
				yield(listed{}, fail.Newf(fail.Unsupported, "s3: list versions", b.subject(""), "the server cuts the listing short and does not say where it goes on"))
				return
			}

			in.KeyMarker, in.VersionIdMarker = aws.String(key), nil
			if version != "" {
				in.VersionIdMarker = aws.String(version)
			}
		}

		if open.key != "" && !emit() {
			return
		}

		for _, l := range odd.rest() {
			if !yield(l, nil) {
				return
			}
		}
	})
}

// event is a version or a deletion of a key.
type event struct {
	listed
	deleted bool
	latest  bool
}

// events merges a page's versions and delete markers by key. Those without a
// name come first: their place in the order is not what they show.
func events(out *awss3.ListObjectVersionsOutput) iter.Seq[event] {
	key := decoder(out.EncodingType)
	var vs, ds, odd []event

	put := func(e event, to *[]event) {
		if e.unnamed {
			to = &odd
		}
		*to = append(*to, e)
	}
	for _, v := range out.Versions {
		name, named := key(v.Key)
		put(event{listed: listed{Key: name, unnamed: !named, VersionID: aws.ToString(v.VersionId), ETag: aws.ToString(v.ETag),
			Size: aws.ToInt64(v.Size), Modified: created(v.VersionId, v.LastModified)}, latest: aws.ToBool(v.IsLatest)}, &vs)
	}

	for _, m := range out.DeleteMarkers {
		name, named := key(m.Key)
		put(event{listed: listed{Key: name, unnamed: !named, Modified: created(m.VersionId, m.LastModified)}, deleted: true, latest: aws.ToBool(m.IsLatest)}, &ds)
	}

	return func(yield func(event) bool) {
		for _, e := range odd {
			if !yield(e) {
				return
			}
		}

		for len(vs) > 0 || len(ds) > 0 {
			from := &ds
			if len(ds) == 0 || len(vs) > 0 && vs[0].Key <= ds[0].Key {
				from = &vs
			}
			e := (*from)[0]
			*from = (*from)[1:]

			if !yield(e) {
				return
			}
		}
	}
}

// maxOddities bounds what is remembered of objects without a name.
const maxOddities = 1000

// oddities finds out which objects without a name were there at an instant.
// Several can show one key, and then nobody knows which deletion is whose: the
// newest version of an object counts whatever else shows its key. Of the older
// ones those count that were there at the instant by all that shows their key:
// what was deleted before does not matter any more.
type oddities struct {
	at    time.Time
	known map[string]*history
	told  map[string]bool
}

// add returns the object when it is sure that it counts.
func (o *oddities) add(e event) (listed, bool) {
	h := o.known[e.Key]
	if h == nil && len(o.known) < maxOddities {
		h = &history{at: o.at, key: e.Key}
		o.known[e.Key] = h
	}

	if h != nil {
		h.add(e)
	}

	if !e.latest || e.deleted || e.Modified.After(o.at.Add(Slack)) {
		return listed{}, false
	}

	if h != nil {
		o.told[e.Key] = true
	}

	return e.listed, true
}

// rest returns the others that were there at the instant.
func (o *oddities) rest() (out []listed) {
	for _, key := range slices.Sorted(maps.Keys(o.known)) {
		if l, ok := o.known[key].pick(); ok && !o.told[key] {
			out = append(out, l)
		}
	}

	return out
}

// created is when a version or a deletion came to be. On S3 that is LastModified.
// A gateway to a file system (versitygw) changes LastModified when a version
// stops being the current one. But its version ids are ULIDs, which hold the time
// of creation in milliseconds.
func created(version *string, modified *time.Time) time.Time {
	if t, ok := ulidTime(aws.ToString(version)); ok {
		return t
	}

	return aws.ToTime(modified).UTC()
}

// ulidTime reads the time of a ULID: 26 digits of Crockford's base 32, the
// first 10 of them milliseconds. No other server known to us has version ids
// of that length.
func ulidTime(s string) (time.Time, bool) {
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

	if len(s) != 26 || s[0] > '7' {
		return time.Time{}, false
	}

	var ms int64
	for i := range len(s) {
		d := strings.IndexByte(digits, s[i])
		if d < 0 {
			return time.Time{}, false
		}

		if i < 10 {
			ms = ms<<5 | int64(d)
		}
	}
	t := time.UnixMilli(ms).UTC()

	return t, t.Year() >= 2016 && t.Year() < 2200
}

// history is what is known of one key. It holds one candidate of each kind,
// however many versions there are.
type history struct {
	at   time.Time
	key  string
	best *event // the newest version at or before the instant
	late *event // the oldest version within Slack after it, or one whose time says nothing
	gone *event // the newest deletion that is surely before it
}

// add takes a key's events in the order of the listing: versions newest first,
// and so are deletions. That order is the server's own; LastModified is not always
// (of an object that came in parts it is when the first was begun).
func (h *history) add(e event) {
	switch {
	case e.deleted:
		if !e.Modified.Add(Slack).After(h.at) && h.gone == nil {
			h.gone = &e
		}
	case !e.Modified.After(h.at):
		if h.best == nil {
			h.best = &e
		}
	case !e.Modified.After(h.at.Add(Slack)) || e.VersionID == "null":
		// A version from before versioning has no time that a gateway
		// keeps. One written while versioning is suspended has taken the
		// place of what was there at the instant.
		h.late = &e
	}
}

// newer compares a version with a deletion, which are listed apart; of two in
// one instant the current one is newer.
func (e *event) newer(o *event) bool {
	if !e.Modified.Equal(o.Modified) {
		return e.Modified.After(o.Modified)
	}

	return e.latest
}

// pick is the version of the instant; see the package's text for the reasons.
func (h *history) pick() (listed, bool) {
	if h.best != nil && (h.gone == nil || !h.gone.newer(h.best)) {
		return h.best.listed, true
	}

	if h.late != nil {
		return h.late.listed, true
	}

	return listed{}, false
}
