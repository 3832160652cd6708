package pgbouncer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"drctl/internal/atomicfile"
	"drctl/internal/fail"
)

// fileAddress reads from a file where its line of a database leads.
func fileAddress(op, path, database string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fail.FromOS(op, path, err)
	}

	_, at, err := find(string(text), database)
	if err != nil {
		return "", fail.New(fail.Invalid, op, path, "", err)
	}

	host, _ := at.get("host")

	port, ok := at.get("port")
	if !ok {
		port = "5432"
	}

	return net.JoinHostPort(host, port), nil
}

// writeAddress makes the line of a database lead to an address, and changes nothing
// else of the file: neither other words of the line nor mode and owner.
func writeAddress(op, path, database, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fail.New(fail.Invalid, op, path, "", err)
	}

	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fail.FromOS(op, path, err)
	}

	info, err := os.Stat(real)
	if err != nil {
		return fail.FromOS(op, path, err)
	}

	text, err := os.ReadFile(real)
	if err != nil {
		return fail.FromOS(op, path, err)
	}

	line, words, err := find(string(text), database)
	if err != nil {
		return fail.New(fail.Invalid, op, path, "", err)
	}

	words = words.set("host", host).set("port", port)

	lines := strings.SplitAfter(string(text), "\n")
	old := lines[line]
	key, _, _ := strings.Cut(old, "=")
	end := old[len(strings.TrimRight(old, "\r\n")):]
	lines[line] = key + "= " + words.String() + end

	if lines[line] == old {
		return nil
	}

	err = atomicfile.Replace(real, info.Mode().Perm(), func(f *os.File) error {
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
				return err
			}
		}

		_, err := f.WriteString(strings.Join(lines, ""))

		return err
	})

	return fail.FromOS(op, path, err)
}

// find finds the one line of a database: its index, and the words of its value. A
// file that is included under [databases] need not name the section.
func find(text, database string) (int, words, error) {
	at, section := -1, "databases"

	var found words
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.ToLower(strings.Trim(line, "[] \t"))
			continue
		}

		key, value, ok := strings.Cut(line, "=")
		if !ok || section != "databases" || line[0] == ';' || line[0] == '#' || strings.Trim(strings.TrimSpace(key), `"`) != database {
			continue
		}

		if at >= 0 {
			return 0, nil, fmt.Errorf("it has two lines of database %s", database)
		}

		w, err := parse(value)
		if err != nil {
			return 0, nil, fmt.Errorf("the line of database %s: %w", database, err)
		}
		at, found = i, w
	}

	if at < 0 {
		return 0, nil, fmt.Errorf("it has no line of database %s", database)
	}

	return at, found, nil
}

// words are the settings of a line, in order.
type words [][2]string

// parse reads key=value pairs; values may be in single quotes, which are doubled
// within.
func parse(s string) (words, error) {
	var out words
	for {
		s = strings.TrimLeft(s, " \t\r")
		if s == "" {
			return out, nil
		}

		key, rest, ok := strings.Cut(s, "=")
		if key = strings.TrimSpace(key); !ok || key == "" || strings.ContainsAny(key, " \t'") {
			return nil, errors.New("it is not of the form key=value") // no more of it: it may hold a password
		}

		value, rest, err := value(strings.TrimLeft(rest, " \t"))
		if err != nil {
			return nil, err
		}
		out, s = append(out, [2]string{key, value}), rest
	}
}

func value(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, "'") {
		i := strings.IndexAny(s, " \t\r")
		if i < 0 {
			i = len(s)
		}

		return s[:i], s[i:], nil
	}

	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			b.WriteByte(s[i])
			continue
		}

		if i+1 >= len(s) || s[i+1] != '\'' {
			return b.String(), s[i+1:], nil
		}

		b.WriteByte('\'')

		i++
	}

	return "", "", errors.New("a quote is not closed")
}

func (w words) get(key string) (string, bool) {
	for _, p := range w {
		if p[0] == key {
			return p[1], true
		}
	}

	return "", false
}

func (w words) set(key, value string) words {
	for i, p := range w {
		if p[0] == key {
			w[i][1] = value
			return w
		}
	}

	return append(w, [2]string{key, value})
}

func (w words) String() string {
	out := make([]string, 0, len(w))
	for _, p := range w {
		v := p[1]
		if v == "" || strings.ContainsAny(v, "' \t") {
			v = "'" + strings.ReplaceAll(v, "'", "''") + "'"
		}
		out = append(out, p[0]+"="+v)
	}

	return strings.Join(out, " ")
}
