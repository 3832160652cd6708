package control

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTornControlFileIsFound(t *testing.T) {
	whole := make([]byte, fileSize)
	for i := range 280 {
		whole[i] = byte(i * 7)
	}

	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "global"), 0o700); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(filepath.Join(dir, "global", "pg_control"), whole, 0o600); err != nil {
		t.Fatal(err)
	}

	if _, _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "CRC") {
		t.Fatalf("a torn control file was accepted: %v", err)
	}
}
