package servers

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// S3Spec describes an S3 server on a directory.
type S3Spec struct {
	Name      string
	Dir       string // holds data/ and versions/
	Port      int    // 0: a free one
	AccessKey string
	SecretKey targets.Secret
	LogFile   string // "": Dir + ".log"
	Detached  bool
}

// StartS3 starts an S3 server with versioning support; buckets are made
// through its API. Address is host:port, the endpoint http://host:port.
func (b Binaries) StartS3(ctx context.Context, s S3Spec) (Server, error) {
	if b.S3Server == "" {
		return Server{}, fail.Newf(fail.NotFound, "find tools", "versitygw", "the S3 server is not built; run make tools, or name it under sandbox.tools")
	}

	data, versions := filepath.Join(s.Dir, "data"), filepath.Join(s.Dir, "versions")
	for _, d := range []string{s.Dir, data, versions} {
		if err := b.RunAs.Mkdir(d, 0o700); err != nil {
			return Server{}, err
		}
	}

	return b.onPort(s.Port, func(port int) (Server, error) {
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

		return b.start(ctx, launch{name: named(s.Name, "s3 ", s.Dir), kind: targets.S3, path: b.S3Server, dir: s.Dir, address: addr,
			logFile: logOf(s.LogFile, s.Dir), detached: s.Detached,
			asSelf: true, // the program may lie in a home that the other user cannot enter
			args:   []string{"--port", addr, "--quiet", "--keep-alive", "posix", "--versioning-dir", versions, data},
			env:    []string{"ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey.Reveal()},
			ready: func() error {
				r, err := client.Get("http://" + addr + "/") // an unsigned request is refused: that is an answer
				if err != nil {
					return errNotYet
				}
				return r.Body.Close()
			}})
	})
}
