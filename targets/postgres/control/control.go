package control

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"drctl/internal/retry"
)

const (
	fileName = "pg_control"
	fileSize = 8192
)

// SystemID checks the CRC of a pg_control file and returns the cluster's
// system identifier.
func SystemID(content []byte) (string, error) {
	if len(content) != fileSize {
		return "", fmt.Errorf("pg_control has %d bytes, want %d", len(content), fileSize)
	}

	if crcOf(content) < 0 {
		return "", fmt.Errorf("pg_control fails its CRC")
	}

	return strconv.FormatUint(binary.LittleEndian.Uint64(content), 10), nil
}

// crcOf returns where the CRC of a whole pg_control file is, or -1. The
// place differs between versions; it is the one where the value fits.
func crcOf(content []byte) int {
	table := crc32.MakeTable(crc32.Castagnoli)
	for off := 128; off+4 <= min(1024, len(content)); off += 4 {
		if stored := binary.LittleEndian.Uint32(content[off:]); stored != 0 && stored == crc32.Checksum(content[:off], table) {
			return off
		}
	}

	return -1
}

// Read reads global/pg_control until it is whole: a server may be
// writing it.
func Read(dataDir string) (content []byte, systemID string, err error) {
	torn := func(err error) bool { return !errors.As(err, new(*fs.PathError)) }

	err = retry.Do(context.Background(), retry.Policy{First: 20 * time.Millisecond, For: 400 * time.Millisecond, If: torn}, func() (err error) {
		if content, err = os.ReadFile(filepath.Join(dataDir, "global", fileName)); err == nil {
			systemID, err = SystemID(content)
		}

		return err
	})

	return content, systemID, err
}
