package vault

import (
	"context"
	"io"
	"iter"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// Store keeps immutable objects under "/"-separated keys. Every call may be
// repeated and made concurrently. Errors are *fail.Error and name the key.
type Store interface {
	// Put stores body whole and durably, or not at all. fail.Conflict when the
	// key exists, whatever it holds.
	Put(ctx context.Context, key string, body []byte) error
	// PutFile is Put for a file of any size, in bounded memory.
	PutFile(ctx context.Context, key string, file string) error
	// Get opens an object; fail.NotFound when there is none.
	Get(ctx context.Context, key string) (io.ReadCloser, error)
	// Stat describes an object; fail.NotFound when there is none.
	Stat(ctx context.Context, key string) (Info, error)
	// List yields what begins with prefix and sorts after the key after (""
	// for all), in bytewise order. It ends at the first error.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]
	// Folders lists the distinct parts that follow prefix ("" or ending in "/")
	// up to the next "/", in order, without listing what is in them.
	Folders(ctx context.Context, prefix string) ([]string, error)
	// Delete removes an object; one that does not exist is no error. Only
	// retention calls it.
	Delete(ctx context.Context, key string) error
	// URL names the store, without secrets.
	URL() string
}

// Info describes a stored object.
type Info struct {
	Key      string
	Size     int64 // bytes as stored
	Modified time.Time
}

// Location says where a vault is and how to reach it.
type Location struct {
	// URL is file:///absolute/path or s3://bucket/prefix.
	URL string
	// Endpoint is the base URL of an S3 server ("http://host:port"); empty for AWS.
	Endpoint string
	// Region is the S3 region; empty means us-east-1.
	Region string
	// AccessKey and SecretKey; both empty means the credentials that the
	// environment of the process offers (AWS only: profile, web identity, instance role).
	AccessKey string
	SecretKey targets.Secret
}

// place is a parsed Location.
type place struct {
	dir            string // file
	bucket, prefix string // s3
}

func (l Location) parse() (place, error) {
	bad := func(hint string, err error) (place, error) {
		return place{}, fail.New(fail.Invalid, "vault: location", l.URL, hint, err)
	}

	u, err := url.Parse(l.URL)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return place{}, fail.New(fail.Invalid, "vault: location", "", "write file:///absolute/path or s3://bucket/prefix; credentials have their own fields", nil)
	}

	switch u.Scheme {
	case "file":
		if u.Host != "" || !path.IsAbs(u.Path) || path.Clean(u.Path) == "/" {
			return bad("write file:///absolute/path", nil)
		}

		return place{dir: filepath.Clean(u.Path)}, nil
	case "s3":
		if u.Host == "" {
			return bad("write s3://bucket/prefix", nil)
		}

		prefix := strings.Trim(u.Path, "/")
		if prefix != "" {
			if err := validKey(prefix); err != nil {
				return bad("use plain names in the prefix", err)
			}
			prefix += "/"
		}

		return place{bucket: u.Host, prefix: prefix}, nil
	}

	return bad("write file:///absolute/path or s3://bucket/prefix", nil)
}

// OpenStore opens a location without touching it. The directory of a file
// store is made by the first write.
func OpenStore(ctx context.Context, l Location) (Store, error) {
	p, err := l.parse()
	if err != nil {
		return nil, err
	}

	if p.dir != "" {
		return &fileStore{root: p.dir}, nil
	}

	return newS3Store(ctx, l, p)
}

// maxPlain bounds what is read whole and is not encrypted: vault.json and the two
// first files of a repository.
const maxPlain = 1 << 20

// get reads a small object whole.
func get(ctx context.Context, s Store, key string) ([]byte, error) {
	r, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()

	b, err := io.ReadAll(io.LimitReader(r, maxPlain+1))
	if err != nil {
		return nil, fail.From(fail.Unavailable, "vault: read", s.URL()+"/"+key, err)
	}

	if len(b) > maxPlain {
		return nil, fail.Newf(fail.Corrupt, "vault: read", s.URL()+"/"+key, "holds more than %d MiB", maxPlain>>20)
	}

	return b, nil
}
