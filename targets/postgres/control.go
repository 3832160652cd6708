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
// system identifier.
func systemIDOf(control []byte) (string, error) {
	if len(control) != controlFileSize {
		return "", fmt.Errorf("pg_control has %d bytes, want %d", len(control), controlFileSize)
	}

	if controlCRC(control) < 0 {
		return "", fmt.Errorf("pg_control fails its CRC")
	}

	return strconv.FormatUint(binary.LittleEndian.Uint64(control), 10), nil
}

// controlCRC returns where the CRC of a whole pg_control file is, or -1. The
// place differs between versions; it is the one where the value fits.
func controlCRC(control []byte) int {
	table := crc32.MakeTable(crc32.Castagnoli)
	for off := 128; off+4 <= min(1024, len(control)); off += 4 {
		if stored := binary.LittleEndian.Uint32(control[off:]); stored != 0 && stored == crc32.Checksum(control[:off], table) {
			return off
		}
	}

	return -1
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
