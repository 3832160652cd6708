package sandboxtest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/servers"
	"drctl/targets"
)

// createShop makes the database shop in a new cluster and stops it cleanly.
func createShop(tools servers.Binaries, dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	p, err := tools.StartPostgres(ctx, servers.PostgresSpec{Dir: dir, Settings: map[string]string{"fsync": "off", "shared_buffers": "16MB"},
		HBA: []string{"host all all 127.0.0.1/32 scram-sha-256"}})
	if err != nil {
		return err
	}
	defer func() { _ = p.Kill() }()
	c, err := pgx.Connect(ctx, DSN(targets.Instance{User: "drctl", Password: targets.NewSecret(Password), Address: p.Address}, "postgres"))
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, "CREATE DATABASE shop")
	if cerr := c.Close(ctx); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return p.Stop(ctx)
}

// newSystemID gives a copied, cleanly stopped cluster an identity of its own,
// as initdb would have: drctl tells clusters apart by it. The control file
// gets a new identifier and checksum, and pg_resetwal makes a log that carries
// the identifier.
func newSystemID(tools servers.Binaries, dir string) error {
	path := filepath.Join(dir, "global", "pg_control")
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// The checksum is the last field of a structure whose size depends on the version.
	table := crc32.MakeTable(crc32.Castagnoli)
	at := 0
	for n := 200; n <= 512 && n+4 <= len(b); n += 4 {
		if crc32.Checksum(b[:n], table) == binary.LittleEndian.Uint32(b[n:]) {
			at = n
			break
		}
	}
	if at == 0 {
		return fmt.Errorf("%s: no checksum found", path)
	}
	// As the server makes them: seconds in the upper half.
	var id [8]byte
	if _, err := rand.Read(id[:4]); err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(id[4:], uint32(time.Now().Unix()))
	copy(b, id[:])
	binary.LittleEndian.PutUint32(b[at:], crc32.Checksum(b[:at], table))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = tools.Run(ctx, nil, "pg_resetwal", "-f", "-D", dir)
	return err
}
