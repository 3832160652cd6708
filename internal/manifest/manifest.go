package manifest

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"drctl/internal/fail"
	"drctl/targets"
)

// ErrMalformed is in every error that says that a manifest's lines are not what
// they must be, and in none of the reader's.
var ErrMalformed = errors.New("the manifest is malformed")

// Entry is one line of a manifest: an object as of the snapshot's instant. A
// manifest is JSON lines in strictly ascending bytewise order of Key.
type Entry struct {
	Key       string    `json:"key"`
	VersionID string    `json:"version_id,omitempty"`
	Size      int64     `json:"size"` // bytes
	ETag      string    `json:"etag,omitempty"`
	SHA256    string    `json:"sha256"` // of the content, in hex; its name in the vault
	Modified  time.Time `json:"modified"`

	ContentType        string            `json:"content_type,omitempty"`
	Metadata           map[string]string `json:"metadata,omitempty"` // user metadata, without x-amz-meta-
	CacheControl       string            `json:"cache_control,omitempty"`
	ContentEncoding    string            `json:"content_encoding,omitempty"`
	ContentLanguage    string            `json:"content_language,omitempty"`
	ContentDisposition string            `json:"content_disposition,omitempty"`
	Expires            string            `json:"expires,omitempty"` // the header as it was sent
	// NotKept names what the object had and a restore does not give back.
	NotKept []string `json:"not_kept,omitempty"`
}

// check says what makes an entry unusable.
func (e Entry) check() error {
	switch {
	case e.Key == "" || !utf8.ValidString(e.Key):
		return fmt.Errorf("the key %q is not valid", e.Key)
	case !targets.IsSHA256(e.SHA256):
		return fmt.Errorf("object %q has the SHA-256 %q", e.Key, e.SHA256)
	case len(e.Key) > maxKey || strings.ContainsRune(e.Key, 0):
		return fmt.Errorf("the key %.80q is not one of an object", e.Key)
	case e.Size < 0 || e.Size > maxSize:
		return fmt.Errorf("object %q has the size %d", e.Key, e.Size)
	}
	return cmp.Or(targets.CheckText("version", e.VersionID), targets.CheckText("etag", e.ETag))
}

const (
	maxKey  = 1024    // bytes; the limit of S3
	maxSize = 1 << 46 // bytes; S3 stores less than that
	// maxLine bounds one line of a manifest: a key of 1 KiB and its headers.
	maxLine = 1 << 20
)

// Entries reads a manifest. A malformed or unsorted one ends with an error of
// code corrupt that holds ErrMalformed and names subject; an error of r is passed on.
func Entries(r io.Reader, subject string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		corrupt := func(line int, err error) {
			yield(Entry{}, fail.Newf(fail.Corrupt, "manifest: read", subject, "line %d: %w: %w", line, ErrMalformed, err))
		}
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 64<<10), maxLine)
		last := ""
		line := 0
		for lines.Scan() {
			line++
			var e Entry
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil && lines.Err() != nil {
				break // the line is short because reading failed
			} else if err != nil {
				corrupt(line, err)
				return
			}
			if err := e.check(); err != nil {
				corrupt(line, err)
				return
			}
			if e.Key <= last {
				corrupt(line, fmt.Errorf("key %q does not follow %q", e.Key, last))
				return
			}
			last = e.Key
			if !yield(e, nil) {
				return
			}
		}
		var known *fail.Error
		if err := lines.Err(); errors.As(err, &known) {
			yield(Entry{}, err)
		} else if err != nil {
			corrupt(line+1, err)
		}
	}
}

// Writer writes entries as JSON lines. The caller adds them in order; Flush, once,
// after the last.
type Writer struct {
	buf *bufio.Writer
	enc *json.Encoder
}

// NewWriter writes to w, buffered.
func NewWriter(w io.Writer) *Writer {
	buf := bufio.NewWriterSize(w, 64<<10)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	return &Writer{buf: buf, enc: enc}
}

// Add writes one line. Errors are those of the writer below.
func (w *Writer) Add(e Entry) error { return w.enc.Encode(e) }

// Flush writes what is buffered.
func (w *Writer) Flush() error { return w.buf.Flush() }
