package localwal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"drctl/targets/postgres/wal"
)

const (
	recordHeader = 24
	pageHeader   = 24 // the short one, aligned
	recordAlign  = 8
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Beyond finds log of this place behind an end that a reader has found: a record whose predecessor
// stands behind that end too, or a page with its own address. Then the end is damage, or was
// never written, and not where the server stopped. What a recycled file holds has other
// addresses. It looks as far as the end of the segment that follows.
func (l *Log) Beyond(end uint64) (at uint64, found bool, err error) {
	src := l.Bytes(end - end%wal.PageSize)
	defer src.Close()

	page := make([]byte, wal.PageSize)
	last := end - end%l.Segment + 2*l.Segment

	for at := end - end%wal.PageSize; at < last; at += wal.PageSize {
		if _, err := io.ReadFull(src, page); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, false, nil
		} else if err != nil {
			return 0, false, err
		}

		switch {
		case at >= end && le.Uint64(page[8:]) == at && le.Uint16(page) != 0:
			return at, true, nil
		case at < end:
			if i := recordIn(page, at, end); i > 0 {
				return at + uint64(i), true, nil
			}
		}
	}

	return 0, false, nil
}

// recordIn finds a whole record in a page behind an end in it, with a predecessor that is not in
// front of the end; 0 when there is none.
func recordIn(page []byte, address, end uint64) int {
	first := max(int(end-address+recordAlign-1)&^(recordAlign-1), pageHeader)

	for i := first; i+recordHeader <= len(page); i += recordAlign {
		head := page[i:]

		n := int64(le.Uint32(head))
		if prev := le.Uint64(head[8:]); n < recordHeader || n > int64(len(head)) || prev < end || prev >= address+uint64(i) {
			continue
		}

		sum := crc32.Update(crc32.Checksum(head[recordHeader:n], castagnoli), castagnoli, head[:20])
		if sum == le.Uint32(head[20:]) {
			return i
		}
	}

	return 0
}
