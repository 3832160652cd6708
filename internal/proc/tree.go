package proc

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"drctl/internal/fail"
)

// Kill ends the process and all its descendants with SIGKILL and waits, up to
// ten seconds each time, until they are gone. One that is gone already is no
// error; denied when it is another user's.
func (p ID) Kill() error {
	const op = "kill process"
	// Frozen first, so that it starts no child behind the listing.
	if err := p.Signal(syscall.SIGSTOP); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fail.New(fail.Denied, op, p.String(), "run as root or as the user that started it", err)
	}

	all := p.tree()
	for _, c := range all {
		_ = c.Signal(syscall.SIGKILL)
	}

	end := time.Now().Add(10 * time.Second)
	for _, c := range all {
		for c.Alive() {
			if time.Now().After(end) {
				return fail.Newf(fail.Internal, op, p.String(), "process %d does not end", c.Pid)
			}

			time.Sleep(5 * time.Millisecond)
		}
	}

	return nil
}

// tree returns the process and every process below it; none when it is gone.
// A child may have a process group and a session of its own, as PostgreSQL's
// have, so only the parents tell.
func (p ID) tree() []ID {
	if !p.Alive() {
		return nil
	}

	children := map[int][]ID{}
	for _, pid := range pids() {
		if st, err := readStat(pid); err == nil {
			children[st.ppid] = append(children[st.ppid], ID{Pid: pid, Start: st.start})
		}
	}

	out := []ID{p}
	for i := 0; i < len(out); i++ {
		for _, c := range children[out[i].Pid] {
			if !slices.ContainsFunc(out, func(x ID) bool { return x.Pid == c.Pid }) {
				out = append(out, c)
			}
		}
	}

	return out
}

// Resident is a process that works in a directory.
type Resident struct {
	ID
	// Dir is its working directory, also when that has been deleted since.
	Dir string
}

// In lists the processes of the named programs whose working directory is dir
// or lies below it. dir is a real path, without links.
func In(dir string, programs ...string) []Resident {
	var out []Resident
	for _, pid := range pids() {
		if r, ok := residentOf(pid, dir, programs); ok {
			out = append(out, r)
		}
	}

	return out
}

// Lives reports whether the process that has this id now is one of the named
// programs and works in dir itself, which is a real path.
func Lives(pid int, dir string, programs ...string) (ID, bool) {
	r, ok := residentOf(pid, dir, programs)
	return r.ID, ok && r.Dir == dir
}

func residentOf(pid int, dir string, programs []string) (Resident, bool) {
	at := "/proc/" + strconv.Itoa(pid)

	cwd, err := os.Readlink(at + "/cwd")
	if err != nil || cwd != dir && !strings.HasPrefix(cwd, dir+"/") {
		return Resident{}, false
	}

	name, err := os.ReadFile(at + "/comm")
	if err != nil || !slices.Contains(programs, strings.TrimSpace(string(name))) {
		return Resident{}, false
	}

	st, err := readStat(pid)
	if err != nil || st.state == 'Z' {
		return Resident{}, false
	}

	return Resident{ID{pid, st.start}, strings.TrimSuffix(cwd, " (deleted)")}, true
}

// ParentOf is the id of the process that started this one; 0 when there is none
// of that id.
func ParentOf(pid int) int {
	st, err := readStat(pid)
	if err != nil {
		return 0
	}

	return st.ppid
}

// pids lists the processes of this host.
func pids() []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")

	out := make([]int, 0, len(dirs))
	for _, d := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(d)); err == nil {
			out = append(out, pid)
		}
	}

	return out
}
