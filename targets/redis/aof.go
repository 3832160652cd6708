package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/redis/scan"
)

// The append-only file of several parts that Redis 7 reads.
const (
	aofDir       = "appendonlydir"
	aofName      = "appendonly.aof"
	baseFile     = aofName + ".1.base.rdb"
	incrFile     = aofName + ".1.incr.aof"
	manifestFile = aofName + ".manifest"
	// restoredFile keeps what a restore wrote, for Verify.
	restoredFile = "drctl.restored.json"
)

// restored is the content of restoredFile. The server goes on writing the
// incremental file, so only its first bytes are known.
type restored struct {
	BaseBytes int64            `json:"base_bytes"`
	BaseSHA   string           `json:"base_sha256"`
	IncrBytes int64            `json:"incr_bytes"`
	IncrSHA   string           `json:"incr_sha256"`
	Reached   targets.Position `json:"reached"`
	// Loaded is what the server held when it had loaded the files; only for a
	// sandbox, whose server runs on with nobody else writing.
	Loaded *keyCounts `json:"loaded,omitempty"`
}

// keyCounts are keys in all databases; Expiring of them have a time to live.
type keyCounts struct {
	Keys     int64 `json:"keys"`
	Expiring int64 `json:"expiring"`
	highest  int   // number of the highest database that has keys
}

// layout writes the parts into a directory.
type layout struct {
	dir         string
	tools       servers.Binaries
	baseBytes   int64
	baseSHA     string
	streamBytes uint64 // kept of the stream
	streamSHA   string
	commands    uint64
	reached     targets.Position
	loaded      *keyCounts
}

// create opens a new file of the servers' user.
func (l *layout) create(name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fail.FromOS(opRestore, l.dir, err)
	}

	if err := l.tools.RunAs.Own(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}

	return f, nil
}

// writeBase writes the image.
func (l *layout) writeBase(ctx context.Context, req targets.RestoreRequest, from targets.Source) error {
	// The parent, too: the server writes its log and its configuration there.
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return fail.FromOS(opRestore, l.dir, err)
	}

	if err := l.tools.RunAs.Own(filepath.Dir(l.dir)); err != nil {
		return err
	}

	r, err := from.OpenStream(ctx, req.Base)
	if err != nil {
		return err
	}
	defer r.Close()

	f, err := l.create(baseFile)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()

	n, err := copyTo(ctx, io.MultiWriter(f, h), r, func(n int64) { req.Progress.Report("base", n, req.Base.Bytes) })
	if err != nil {
		return fail.FromOS(opRestore, f.Name(), err)
	}

	var magic [magicLen]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil || !imageMagic(magic[:]) {
		return fail.New(fail.Corrupt, opRestore, "base "+req.Base.ID, "choose another base", errors.New("the image is not an RDB file"))
	}

	if req.Base.Bytes > 0 && n != req.Base.Bytes {
		return fail.New(fail.Corrupt, opRestore, "base "+req.Base.ID, "choose another base", fmt.Errorf("the image has %d bytes, its record says %d", n, req.Base.Bytes))
	}
	l.baseBytes, l.baseSHA = n, hex.EncodeToString(h.Sum(nil))

	return fail.FromOS(opRestore, f.Name(), f.Sync())
}

// writeStream writes the stream up to the last place where it can be cut.
func (l *layout) writeStream(ctx context.Context, req targets.RestoreRequest, path []targets.Span, from targets.Source) error {
	f, err := l.create(incrFile)
	if err != nil {
		return err
	}
	defer f.Close()
	var s scan.Scanner
	total := int64(req.Point.Offset - req.Base.From.Offset)
	done := int64(0)

	l.reached = req.Base.From
	for _, span := range path {
		r, err := from.Log(ctx, span)
		if err != nil {
			return err
		}
		n, err := copyTo(ctx, io.MultiWriter(f, scanError{&s, span, req.Base.From.Offset}), r, func(n int64) { req.Progress.Report("stream", done+n, total) })
		_ = r.Close()

		if err != nil {
			return fail.FromOS(opRestore, f.Name(), err)
		}

		if uint64(n) != span.To-span.From {
			return fail.Newf(fail.Corrupt, opRestore, span.Timeline, "the stream gave %d bytes for [%d,%d)", n, span.From, span.To)
		}
		done += n
	}

	at := req.Base.From.Offset + s.Safe
	if at != req.Point.Offset && req.Until.IsZero() {
		return fail.New(fail.Invalid, opRestore, req.Point.Timeline, fmt.Sprintf("the last whole command before it ends at %d", at), fmt.Errorf("the point %d is inside a command or a transaction", req.Point.Offset))
	}

	l.streamBytes, l.commands = s.Safe, s.Commands
	for _, span := range path {
		if at > span.From {
			l.reached = targets.Position{Kind: targets.Redis, Timeline: span.Timeline, Offset: min(at, span.To)}
		}
	}

	if at == req.Point.Offset {
		l.reached = req.Point
	}

	if err := f.Truncate(int64(s.Safe)); err != nil {
		return fail.FromOS(opRestore, f.Name(), err)
	}

	if l.streamSHA, err = hashPrefix(ctx, f, int64(s.Safe)); err != nil {
		return fail.FromOS(opRestore, f.Name(), err)
	}

	return fail.FromOS(opRestore, f.Name(), f.Sync())
}

// scanError gives the scanner's errors their place in the timeline.
type scanError struct {
	s    *scan.Scanner
	span targets.Span
	base uint64
}

func (e scanError) Write(p []byte) (int, error) {
	n, err := e.s.Write(p)
	if err != nil {
		err = fail.New(fail.Corrupt, opRestore, e.span.Timeline, "choose a base after this place, or a point before it", fmt.Errorf("not a replication stream (it begins at offset %d): %w", e.base, err))
	}

	return n, err
}

func hashPrefix(ctx context.Context, r io.ReaderAt, n int64) (string, error) {
	h := sha256.New()

	k, err := copyTo(ctx, h, io.NewSectionReader(r, 0, n), func(int64) {})
	if err == nil && k != n {
		err = io.ErrUnexpectedEOF
	}

	return sum(h), err
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// write writes a small file durably, owned by the servers' user.
func (l *layout) write(path string, content []byte) error {
	if err := atomicfile.Write(path, content, 0o600); err != nil {
		return fail.FromOS(opRestore, path, err)
	}

	return l.tools.RunAs.Own(path)
}

// finish writes the manifest last: without it a server does not see the files.
func (l *layout) finish() error {
	if err := l.writeRecord(); err != nil {
		return err
	}

	return l.write(filepath.Join(l.dir, manifestFile), manifest(aofName))
}

// writeRecord keeps what was restored, for Verify.
func (l *layout) writeRecord() error {
	rec, err := json.MarshalIndent(restored{BaseBytes: l.baseBytes, BaseSHA: l.baseSHA, IncrBytes: int64(l.streamBytes), IncrSHA: l.streamSHA, Reached: l.reached, Loaded: l.loaded}, "", " ")
	if err != nil {
		return fail.New(fail.Internal, opRestore, l.dir, "", err)
	}

	return l.write(filepath.Join(filepath.Dir(l.dir), restoredFile), append(rec, '\n'))
}

func (l *layout) incrSize() (int64, error) {
	st, err := os.Stat(filepath.Join(l.dir, incrFile))
	if err != nil {
		return 0, fail.FromOS(opRestore, l.dir, err)
	}

	return st.Size(), nil
}

func (l *layout) notShorter() error {
	n, err := l.incrSize()
	if err != nil {
		return err
	}

	if n < int64(l.streamBytes) {
		return fail.Newf(fail.Unverified, opRestore, filepath.Join(l.dir, incrFile), "the server cut the file from %d to %d bytes", l.streamBytes, n)
	}

	return nil
}

func (l *layout) truncate() error {
	if err := l.notShorter(); err != nil {
		return err
	}

	return fail.FromOS(opRestore, l.dir, os.Truncate(filepath.Join(l.dir, incrFile), int64(l.streamBytes)))
}

// readRecord reads what a restore wrote; ok is false when the directory is not
// of one.
func readRecord(dir string) (rec restored, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, restoredFile))
	if errors.Is(err, os.ErrNotExist) {
		return rec, false, nil
	}

	if err == nil {
		err = json.Unmarshal(b, &rec)
	}

	return rec, err == nil, fail.FromOS("redis: verify", dir, err)
}

// checkRestored compares the files of a restore with what was written. ok is
// false when the directory is not of a restore, or its files have been
// rewritten since.
func checkRestored(ctx context.Context, dir string, p targets.Progress) (f targets.Finding, ok bool, err error) {
	rec, ok, err := readRecord(dir)
	if err != nil || !ok {
		return f, false, err
	}

	p.Report("hash", 0, rec.BaseBytes+rec.IncrBytes)
	start := time.Now()
	f = targets.Finding{Check: "restored-files", Subject: dir, Severity: targets.Passed, Expected: rec.BaseSHA + " " + rec.IncrSHA}

	var got []string
	for _, part := range []struct {
		name string
		n    int64
	}{{baseFile, rec.BaseBytes}, {incrFile, rec.IncrBytes}} {
		file, err := os.Open(filepath.Join(dir, aofDir, part.name))
		if errors.Is(err, os.ErrNotExist) {
			if manifest, e := os.ReadFile(filepath.Join(dir, aofDir, manifestFile)); e == nil && !strings.Contains(string(manifest), part.name) {
				return f, false, nil // the server has rewritten its files
			}
			got = append(got, "missing")

			continue
		}

		if err != nil {
			return f, false, fail.FromOS("redis: verify", dir, err)
		}
		h, err := hashPrefix(ctx, file, part.n)
		_ = file.Close()

		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			h = "shorter than " + strconv.FormatInt(part.n, 10)
		case err != nil:
			return f, false, fail.FromOS("redis: verify", dir, err)
		}
		got = append(got, h)
	}
	f.Got = strings.Join(got, " ")

	f.Took = time.Since(start)
	if f.Got != f.Expected {
		f.Severity = targets.Failed
		f.Detail = "the files are not those that were restored"
	}

	return f, true, nil
}

func executable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode()&0o111 != 0
}

// countKeys adds up the key space that INFO lists: "db0:keys=3,expires=1,...".
func countKeys(m map[string]string) (c keyCounts) {
	for k, v := range m {
		if !strings.HasPrefix(k, "db") {
			continue
		}

		if n, err := strconv.Atoi(k[2:]); err == nil {
			c.highest = max(c.highest, n)
		}

		for part := range strings.SplitSeq(v, ",") {
			name, n, _ := strings.Cut(part, "=")

			x, _ := strconv.ParseInt(n, 10, 64)
			switch name {
			case "keys":
				c.Keys += x
			case "expires":
				c.Expiring += x
			}
		}
	}

	return c
}
