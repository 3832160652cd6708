package s3client

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Measured passes a body on, sums it, and ends in an error unless the body is what was promised: an
// upload that reads it never completes with another.
type Measured struct {
	// Err says more than the error of the upload that ends because of it.
	Err error

	r    io.Reader
	h    hash.Hash
	n    int64
	size int64
	end  func(n int64, sha string) error
}

// Measure promises size bytes. At the end, or as soon as there are more, end says whether they will do.
func Measure(r io.Reader, size int64, end func(n int64, sha string) error) *Measured {
	return &Measured{r: r, h: sha256.New(), size: size, end: end}
}

// SHA256 is that of what was read, in hex.
func (m *Measured) SHA256() string { return hex.EncodeToString(m.h.Sum(nil)) }

// Read reads the body. A body that breaks off never looks like one that ends.
func (m *Measured) Read(p []byte) (int, error) {
	if m.Err != nil {
		return 0, m.Err
	}

	n, err := m.r.Read(p)
	m.h.Write(p[:n])
	m.n += int64(n)

	switch over := errors.Is(err, io.EOF); {
	case over || m.n > m.size:
		m.Err = m.end(m.n, m.SHA256())
	case err != nil:
		m.Err = fmt.Errorf("it was not read to its end: %w", err) // never a bare unexpected EOF
	}

	if m.Err != nil {
		return n, m.Err
	}

	return n, err
}
