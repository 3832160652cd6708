package clocks

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
)

const op = "lab: clock"

// library is where Debian's package has what is loaded before a program's own libraries.
const library = "/usr/lib/*/faketime/libfaketimeMT.so.1"

// Environment makes the clock of a server that is started with it that of a file, which is made if there is
// none. The file has to be readable for the server's user. Not-found when libfaketime is not installed.
func Environment(file string) ([]string, error) {
	found, err := filepath.Glob(library)
	if err != nil || len(found) == 0 {
		return nil, fail.New(fail.NotFound, op, "libfaketime", "install Debian's package libfaketime", errors.Join(err, errors.New("it is not installed")))
	}

	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, fail.FromOS(op, file, err)
		}

		if err := Set(file, 0); err != nil {
			return nil, err
		}
	}

	// libc stands before jemalloc, with which Redis comes: that looks at the clock while libfaketime asks it for memory, and
	// both wait for ever. The file is read at every look at the clock: a step is there at once.
	return []string{"LD_PRELOAD=" + found[0] + " libc.so.6", "FAKETIME_TIMESTAMP_FILE=" + file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"}, nil
}

// Started removes the names of memory that libfaketime would leave behind when the process is killed. It is in use
// without them.
func Started(pid int) error {
	for _, name := range []string{"faketime_shm_", "sem.faketime_sem_"} {
		path := filepath.Join("/dev/shm", name+strconv.Itoa(pid))
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fail.FromOS(op, path, err)
		}
	}

	return nil
}

// Set steps a clock: from now on it is off by so much, in microseconds.
func Set(file string, off time.Duration) error {
	text := strconv.FormatFloat(off.Truncate(time.Microsecond).Seconds(), 'f', 6, 64)
	if !strings.HasPrefix(text, "-") {
		text = "+" + text
	}

	return fail.FromOS(op, file, atomicfile.Write(file, []byte(text+"\n"), 0o644))
}

// Off reads by how much a clock was set to be off.
func Off(file string) (time.Duration, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, fail.FromOS(op, file, err)
	}

	s, err := strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
	if err != nil {
		return 0, fail.New(fail.Corrupt, op, file, "", err)
	}

	return time.Duration(s * float64(time.Second)).Round(time.Microsecond), nil
}
