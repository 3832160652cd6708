package localwal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"drctl/internal/fail"
	"drctl/targets/postgres/control"
	"drctl/targets/postgres/timelines"
	"drctl/targets/postgres/wal"
)

const op = "read log"

// Log is the log of a data directory along the way to one timeline.
type Log struct {
	dir     string
	Point   timelines.Point // Offset is not set
	File    []byte          // the history that is kept with the timeline; nil for the first
	Segment uint64          // bytes of a file
}

// Open looks at the log of a data directory along the way to a timeline.
func Open(dataDir, system string, timeline uint32) (*Log, error) {
	return In(filepath.Join(dataDir, "pg_wal"), system, timeline)
}

// In looks at the log in a directory of its own.
func In(dir, system string, timeline uint32) (*Log, error) {
	l := &Log{dir: dir, Point: timelines.Point{System: system, Timeline: timeline}}

	if timeline > 1 {
		path := filepath.Join(l.dir, timelines.FileName(timeline))

		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fail.FromOS(op, path, err)
		}

		l.File = content
		if l.Point.History, err = timelines.Parse(content); err != nil {
			return nil, fail.New(fail.Corrupt, op, path, "", err)
		}
	}

	files, err := filepath.Glob(filepath.Join(l.dir, "[0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F]"))
	if err != nil || len(files) == 0 {
		return nil, fail.New(fail.NotFound, op, l.dir, "", errors.New("there is no log"))
	}

	info, err := os.Stat(files[0])
	if err != nil {
		return nil, fail.FromOS(op, files[0], err)
	}
	l.Segment = uint64(info.Size())

	return l, nil
}

// Of opens the log of the timeline that the server was on last by its control file, with what that says.
func Of(dataDir string) (*Log, control.State, error) {
	st, err := control.ReadState(dataDir)
	if err != nil {
		return nil, st, fail.New(fail.Corrupt, op, dataDir, "is it a data directory of PostgreSQL 13 to 18?", err)
	}
	l, err := Open(dataDir, st.SystemID, st.Newest)

	return l, st, err
}

// Path names the file that holds the byte at lsn.
func (l *Log) Path(lsn uint64) string {
	last := timelines.SegmentStart(lsn, l.Segment) + l.Segment - 1
	return filepath.Join(l.dir, timelines.SegmentName(l.Point.History.At(last, l.Point.Timeline), lsn, l.Segment))
}

// Bytes reads the files from a place on. The end of the last file that is there is
// the end.
func (l *Log) Bytes(from uint64) io.ReadCloser { return &bytes{log: l, at: from} }

// Ways are the timelines that lead to the log's, as a reader needs them.
func (l *Log) Ways() []wal.Timeline {
	ways := make([]wal.Timeline, 0, len(l.Point.History)+1)
	begin := uint64(0)

	for _, s := range l.Point.History {
		ways = append(ways, wal.Timeline{ID: s.Timeline, Begin: wal.LSN(begin)})
		begin = s.End
	}

	return append(ways, wal.Timeline{ID: l.Point.Timeline, Begin: wal.LSN(begin)})
}

// Records reads every record from the first that begins at or behind a place, which
// is one where a record begins.
func (l *Log) Records(from uint64, all bool) (*wal.Reader, io.Closer, error) {
	page := from - from%wal.PageSize
	src := l.Bytes(page)

	r, err := wal.NewReader(src, wal.Options{Start: wal.LSN(page), From: wal.LSN(from), SegmentSize: l.Segment, Timelines: l.Ways(), All: all})
	if err != nil {
		_ = src.Close()
		return nil, nil, err
	}

	return r, src, nil
}

// End finds where the last whole record ends, reading from a place where a record
// begins. That record is given too.
func (l *Log) End(from uint64) (wal.Record, error) {
	r, src, err := l.Records(from, true)
	if err != nil {
		return wal.Record{}, err
	}
	defer src.Close()

	var last wal.Record
	for {
		rec, err := r.Next()
		if err == nil {
			last = rec
			continue
		}

		if !errors.Is(err, io.EOF) && !fail.Is(err, fail.Corrupt) {
			return last, err
		}

		if last.End == 0 {
			return last, fail.New(fail.Corrupt, op, l.Path(from), "", fmt.Errorf("no record begins at %s: %w", wal.LSN(from), err))
		}

		return last, nil
	}
}

// bytes reads one file after the other.
type bytes struct {
	log *Log
	at  uint64
	f   *os.File
}

func (b *bytes) Read(p []byte) (int, error) {
	for {
		if b.f == nil {
			f, err := os.Open(b.log.Path(b.at))
			if errors.Is(err, os.ErrNotExist) {
				return 0, io.EOF
			}

			if err == nil {
				_, err = f.Seek(int64(b.at%b.log.Segment), io.SeekStart)
			}

			if err != nil {
				return 0, fail.FromOS(op, b.log.Path(b.at), err)
			}
			b.f = f
		}

		n, err := b.f.Read(p)
		b.at += uint64(n)

		if n > 0 {
			return n, nil
		}

		if !errors.Is(err, io.EOF) {
			return 0, fail.FromOS(op, b.f.Name(), err)
		}

		_ = b.f.Close()
		b.f = nil

		if b.at%b.log.Segment != 0 {
			return 0, io.EOF // a file that was cut off
		}
	}
}

func (b *bytes) Close() error {
	if b.f == nil {
		return nil
	}

	return b.f.Close()
}
