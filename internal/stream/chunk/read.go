package chunk

import (
	"bytes"
	"io"

	"drctl/internal/fail"
	"drctl/internal/vault"
)

// AllocAtOnce is how much memory is taken on the word of a chunk's name: the
// usual size of a chunk. More is taken as bytes come.
const AllocAtOnce = 16 << 20

// ReadAll reads the content of a chunk, which must have the length that its
// name says. Reading to the end is what checks the last bytes, too.
func ReadAll(body io.Reader, key string, want uint64) ([]byte, error) {
	if want > vault.MaxChunk {
		return nil, fail.Newf(fail.Corrupt, "stream: chunk", key, "its name says %d bytes, which no archiver writes", want)
	}
	b := bytes.NewBuffer(make([]byte, 0, min(want, AllocAtOnce)+bytes.MinRead))

	n, err := b.ReadFrom(io.LimitReader(body, int64(want)+1))
	switch {
	case err != nil:
		return nil, err
	case uint64(n) > want:
		return nil, fail.Newf(fail.Corrupt, "stream: chunk", key, "holds more than the %d bytes that its name says", want)
	case uint64(n) < want:
		return nil, fail.Newf(fail.Corrupt, "stream: chunk", key, "holds %d bytes, its name says %d", n, want)
	}

	return b.Bytes(), nil
}
