package postgres

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const controlFileSize = 8192

// systemIDOf checks the CRC of a pg_control file and returns the cluster's
// system identifier. The position of the CRC differs between versions; the
// bytes behind it are zero, so it is found by looking for the one place where
// it fits.
func systemIDOf(control []byte) (string, error) {
	if len(control) != controlFileSize {
		return "", fmt.Errorf("pg_control has %d bytes, want %d", len(control), controlFileSize)
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	for off := 128; off+4 <= 1024; off += 4 {
		if stored := binary.LittleEndian.Uint32(control[off:]); stored != 0 && stored == crc32.Checksum(control[:off], table) {
			return strconv.FormatUint(binary.LittleEndian.Uint64(control), 10), nil
		}
	}
	return "", fmt.Errorf("pg_control fails its CRC")
}

// readControl reads global/pg_control until it is whole: a server may be
// writing it.
func readControl(dataDir string) (content []byte, systemID string, err error) {
	for range 20 {
		content, err = os.ReadFile(filepath.Join(dataDir, "global", "pg_control"))
		if err != nil {
			return nil, "", err
		}
		if systemID, err = systemIDOf(content); err == nil {
			return content, systemID, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, "", err
}
