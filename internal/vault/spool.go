package vault

import (
	"bytes"
	"context"
	"io"
	"os"

	"drctl/internal/fail"
)

// spoolLimit is how much of one object is held in memory.
const spoolLimit = 8 << 20

// spool collects bytes in memory and, past spoolLimit, in a temporary file.
type spool struct {
	dir    string
	hidden bool // no name on disk: for plain text
	mem    bytes.Buffer
	f      *os.File
	size   int64
}

func (s *spool) Write(p []byte) (int, error) {
	if s.f == nil && s.mem.Len()+len(p) > spoolLimit {
		f, err := os.CreateTemp(s.dir, "drctl-spool-*")
		if err != nil {
			return 0, fail.New(fail.Exhausted, "vault: spool", s.dir, "make room for temporary files", err)
		}

		s.f = f
		if s.hidden {
			// Gone with the process, however it ends.
			if err := os.Remove(f.Name()); err != nil {
				return 0, fail.New(fail.Exhausted, "vault: spool", f.Name(), "", err)
			}
		}

		if _, err := f.Write(s.mem.Bytes()); err != nil {
			return 0, fail.New(fail.Exhausted, "vault: spool", s.dir, "make room for temporary files", err)
		}
		s.mem = bytes.Buffer{}
	}

	s.size += int64(len(p))
	if s.f == nil {
		return s.mem.Write(p)
	}

	n, err := s.f.Write(p)
	if err != nil {
		err = fail.New(fail.Exhausted, "vault: spool", s.dir, "make room for temporary files", err)
	}

	return n, err
}

// reader gives what was written, from the start.
func (s *spool) reader() io.Reader {
	if s.f == nil {
		return bytes.NewReader(s.mem.Bytes())
	}

	return io.NewSectionReader(s.f, 0, s.size)
}

// put stores what was written under key; a key that exists is left.
func (s *spool) put(ctx context.Context, to Store, key string) error {
	var err error
	if s.f == nil {
		err = to.Put(ctx, key, s.mem.Bytes())
	} else {
		err = to.PutFile(ctx, key, s.f.Name())
	}

	if fail.Is(err, fail.Conflict) {
		return nil
	}

	return err
}

func (s *spool) close() {
	if s.f != nil {
		_ = s.f.Close()
		if !s.hidden {
			_ = os.Remove(s.f.Name())
		}
	}
}
