package storage

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"drctl/config/secret"
	"drctl/targets"
)

// Witness is the name of the witness among those that vote; a region's vault has the
// name of its region.
const Witness = "witness"

// Store is where a vault or a witness keeps its objects.
type Store struct {
	URL       string     `yaml:"url" req:"true" format:"vaulturl" doc:"file:///absolute/path or s3://bucket/prefix."`
	Endpoint  string     `yaml:"endpoint" format:"httpurl" doc:"URL of an S3 service that is not AWS."`
	Region    string     `yaml:"region" format:"word" doc:"S3 region."`
	AccessKey string     `yaml:"access_key" doc:"S3 access key id; without it the worker's own AWS credentials are used."`
	SecretKey secret.Ref `yaml:"secret_key" doc:"S3 secret access key."`
}

// Location is a store with its credentials.
type Location struct {
	URL       string
	Endpoint  string
	S3Region  string
	AccessKey string
	SecretKey targets.Secret
}

// Located is the store with its secret key.
func (s Store) Located(key targets.Secret) Location {
	return Location{URL: s.URL, Endpoint: s.Endpoint, S3Region: s.Region, AccessKey: s.AccessKey, SecretKey: key}
}

// SetDefaults fills in what is left out.
func (s *Store) SetDefaults() { s.Region = "us-east-1" } // for s3:// only

// Where tells two stores apart.
func (s Store) Where() string {
	return strings.TrimSuffix(s.Endpoint, "/") + " " + strings.TrimSuffix(s.URL, "/")
}

// Foreign lists the keys that mean nothing for this store and were written all the same.
func (s Store) Foreign(wrote func(key string) bool) (out []string) {
	if !strings.HasPrefix(s.URL, "file:") {
		return nil
	}

	for _, k := range []string{"endpoint", "region", "access_key", "secret_key"} {
		if wrote(k) {
			out = append(out, k)
		}
	}

	return out
}

// LongestLease is the longest lease of a guard: records are removed on the assumption
// that none is longer.
const LongestLease = time.Minute

// Guard is what the guards beside the servers are told.
type Guard struct {
	Lease time.Duration `yaml:"lease" min:"1s" doc:"For how long a region may write after its guards last reached a majority of vaults and witness, 1m at most. A failover waits for it, and a tenth longer."`
}

// SetDefaults fills in what is left out.
func (g *Guard) SetDefaults() { g.Lease = 15 * time.Second }

// CheckURL says what is wrong with the URL of a store, and how it is written; bucket is
// the check of a bucket's name.
func CheckURL(s string, bucket func(string) (string, string)) (string, string) {
	const form = "write file:///absolute/path or s3://bucket/prefix"

	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "this is not a URL", form
	case u.User != nil:
		return "the URL contains a user or password", "secrets are given by reference: use access_key and secret_key"
	case u.RawQuery != "" || u.Fragment != "":
		return "a vault's URL has no query and no fragment", form
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path) && filepath.Clean(u.Path) != "/":
		return "", ""
	case u.Scheme == "file":
		return fmt.Sprintf("%q does not name an absolute directory", s), "three slashes: file:///srv/vault"
	case u.Scheme == "s3" && u.Host == "":
		return "the URL does not name a bucket", "two slashes: s3://bucket/prefix"
	case u.Scheme == "s3":
		return bucket(u.Host)
	}

	return fmt.Sprintf("%q is not a vault", s), form
}
