package spool

import (
	"bytes"
	"context"
	"io"
	"os"

	"drctl/internal/fail"
)

// Limit is how much of one object is held in memory.
const Limit = 8 << 20

// Spool collects bytes in memory and, past Limit, in a temporary file. It is for one goroutine;
// Close removes the file.
type Spool struct {
	// Dir is where the file is made; empty is the system's.
	Dir string
	// Hidden files have no name: they are gone with the process, however it ends. For plain text.
	Hidden bool

	mem  bytes.Buffer
	f    *os.File
	size int64
}

// Store is what a spool can be put into.
type Store interface {
	Put(ctx context.Context, key string, body []byte) error
	PutFile(ctx context.Context, key, file string) error
}

// Size is how many bytes were written.
func (s *Spool) Size() int64 { return s.size }

// Write fails with exhausted where there is no room.
func (s *Spool) Write(p []byte) (int, error) {
	if s.f == nil && s.mem.Len()+len(p) > Limit {
		f, err := os.CreateTemp(s.Dir, "drctl-spool-*")
		if err != nil {
			return 0, fail.New(fail.Exhausted, "spool", s.Dir, "make room for temporary files", err)
		}

		s.f = f
		if s.Hidden {
			if err := os.Remove(f.Name()); err != nil {
				return 0, fail.New(fail.Exhausted, "spool", f.Name(), "", err)
			}
		}

		if _, err := f.Write(s.mem.Bytes()); err != nil {
			return 0, fail.New(fail.Exhausted, "spool", s.Dir, "make room for temporary files", err)
		}
		s.mem = bytes.Buffer{}
	}

	s.size += int64(len(p))
	if s.f == nil {
		return s.mem.Write(p)
	}

	n, err := s.f.Write(p)
	if err != nil {
		err = fail.New(fail.Exhausted, "spool", s.Dir, "make room for temporary files", err)
	}

	return n, err
}

// Reader gives what was written, from the start.
func (s *Spool) Reader() io.Reader {
	if s.f == nil {
		return bytes.NewReader(s.mem.Bytes())
	}

	return io.NewSectionReader(s.f, 0, s.size)
}

// Put stores what was written under key; a key that exists is left. A hidden spool has no
// file to be put.
func (s *Spool) Put(ctx context.Context, to Store, key string) error {
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

// Close forgets what was written.
func (s *Spool) Close() {
	if s.f != nil {
		_ = s.f.Close()
		if !s.Hidden {
			_ = os.Remove(s.f.Name())
		}
	}
}
