package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/targets"
)

// The settings of a base's record. A restore reads them from there, because
// the server that they come from may be gone by then.
const (
	setVersion = "version" // redis_version
	setServer  = "server"  // "redis" or "valkey"
	// setRenamed is followed by a command's own name; the value is the name that
	// the source knows it by, which is also its name in the stream.
	setRenamed = "rename-command."
)

// keptSettings are what a restored server needs to find its files and databases.
var keptSettings = []string{"databases", "appendonly", "appenddirname", "appendfilename", "dbfilename"}

// plainWord is what a file name or the name of a command may be: nothing that
// a configuration file or a path reads as more than one word.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// sourceSettings reads what a restore has to know of the server that a base is
// of. A write command that goes by another name there, and that the
// configuration does not name, is an error of code unsupported: the stream
// holds that name, and no other server would know it.
func sourceSettings(ctx context.Context, op string, in targets.Instance, c *goredis.Client) (map[string]string, error) {
	m, err := info(ctx, c, "server")
	if err != nil {
		return nil, wrap(op, in, err)
	}

	s := map[string]string{setVersion: m["redis_version"], setServer: "redis"}
	if m["server_name"] == "valkey" {
		s[setServer], s[setVersion] = "valkey", m["valkey_version"]
	}

	// A base without these is still a base: what the user may not ask is left
	// out here, and Probe says what to grant.
	conf, err := configOf(ctx, c, keptSettings)
	if err != nil && !notGranted(err) {
		return nil, wrap(op, in, err)
	}

	for k, v := range conf {
		if plainWord.MatchString(v) {
			s[k] = v
		}
	}

	renamed, err := renamedCommands(ctx, c)
	if err != nil && !notGranted(err) {
		return nil, wrap(op, in, err)
	}

	for _, name := range renamed {
		to := in.Renamed[name]
		if to == "" {
			return nil, fail.New(fail.Unsupported, op, in.String(),
				fmt.Sprintf("name it in the configuration: targets.%s.renamed_commands: {%s: <its name on the server>}; restores then know it too", in.Shard.Target, name),
				fmt.Errorf("the server knows the write command %s by another name (rename-command), which no other server would understand in the log", strings.ToUpper(name)))
		}

		if err := knownAs(ctx, c, name, to); err != nil {
			return nil, fail.New(fail.Invalid, op, in.String(), "correct targets."+in.Shard.Target+".renamed_commands in the configuration", err)
		}
		s[setRenamed+name] = to
	}

	return s, nil
}

// notGranted knows the answer to a command that this user may not run, or that
// the server has taken away.
func notGranted(err error) bool {
	return goredis.HasErrorPrefix(err, "NOPERM") || goredis.HasErrorPrefix(err, "ERR unknown")
}

// configOf reads settings one by one: a server before 7 or a proxy may not
// know several at once. One that the server does not have is left out.
func configOf(ctx context.Context, c *goredis.Client, names []string) (map[string]string, error) {
	out := map[string]string{}
	for _, name := range names {
		v, err := c.ConfigGet(ctx, name).Result()
		if err != nil {
			return nil, err
		}

		maps.Copy(out, v)
	}

	return out, nil
}

// renamedCommands lists the write commands that the server has under another
// name than their own. COMMAND LIST gives commands by their own names whatever
// the server calls them, COMMAND INFO finds them by what it calls them. A
// command that was taken away altogether is in neither, and in no log.
func renamedCommands(ctx context.Context, c *goredis.Client) ([]string, error) {
	list, err := c.Do(ctx, "COMMAND", "LIST", "FILTERBY", "ACLCAT", "write").StringSlice()
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(name string) bool { return strings.Contains(name, "|") }) // goes by its parent's name
	slices.Sort(list)

	args := []any{"COMMAND", "INFO"}
	for _, name := range list {
		args = append(args, name)
	}

	known, err := c.Do(ctx, args...).Slice()
	if err != nil {
		return nil, err
	}

	if len(known) != len(list) {
		return nil, fmt.Errorf("COMMAND INFO answered %d of %d commands", len(known), len(list))
	}

	var out []string
	for i, name := range list {
		if known[i] == nil {
			out = append(out, strings.ToLower(name))
		}
	}

	return out, nil
}

// knownAs checks that the server knows the command by the other name.
func knownAs(ctx context.Context, c *goredis.Client, name, to string) error {
	v, err := c.Do(ctx, "COMMAND", "INFO", to).Slice()
	if err != nil {
		return err
	}

	if len(v) == 1 {
		if entry, ok := v[0].([]any); ok && len(entry) > 0 && strings.EqualFold(fmt.Sprint(entry[0]), name) {
			return nil
		}
	}

	return fmt.Errorf("the server does not know %s by the name %q", strings.ToUpper(name), to)
}

// renamedWarnings says in a probe what a base would be refused for.
func renamedWarnings(ctx context.Context, in targets.Instance, c *goredis.Client) ([]string, error) {
	renamed, err := renamedCommands(ctx, c)
	if notGranted(err) {
		return []string{"it is not known whether write commands are renamed on this server, which a restore must know: grant +command (" + err.Error() + ")"}, nil
	}

	if err != nil {
		return nil, err
	}

	var out []string
	for _, name := range renamed {
		if in.Renamed[name] == "" {
			out = append(out, fmt.Sprintf("the write command %s is renamed on this server, so no base is taken of it: name it in the configuration, targets.%s.renamed_commands: {%s: <its name on the server>}",
				strings.ToUpper(name), in.Shard.Target, name))
		}
	}

	return out, nil
}

// source is what a base's record says of the server it is of.
type source struct {
	server, version string
	known           bool // the record says how the server kept its data
	appendOnly      bool
	dirName         string // appenddirname
	fileName        string // appendfilename
	dbFile          string // dbfilename
	databases       int    // 0 when not recorded
	renames         map[string]string
}

// sourceOf reads a record. What is not well-formed counts as not recorded.
func sourceOf(b targets.Artifact) source {
	word := func(name, otherwise string) string {
		if v := b.Settings[name]; plainWord.MatchString(v) {
			return v
		}

		return otherwise
	}

	s := source{server: word(setServer, "redis"), version: word(setVersion, ""), dirName: word("appenddirname", aofDir),
		fileName: word("appendfilename", aofName), dbFile: word("dbfilename", "dump.rdb"), renames: map[string]string{}}
	switch b.Settings["appendonly"] {
	case "yes":
		s.known, s.appendOnly = true, true
	case "no":
		s.known = true
	}

	if n, err := strconv.Atoi(b.Settings["databases"]); err == nil && n > 0 && n <= 1<<20 {
		s.databases = n
	}

	for k, v := range b.Settings {
		if name, ok := strings.CutPrefix(k, setRenamed); ok && plainWord.MatchString(name) && plainWord.MatchString(v) {
			s.renames[name] = v
		}
	}

	return s
}

// magicReader refuses what does not begin as an image of Redis or Valkey does,
// when the base is taken and not when it is needed.
type magicReader struct {
	io.Reader
	in   targets.Instance
	head []byte
}

const magicLen = 9 // "REDIS0011" or "VALKEY080"

func (r *magicReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if want := magicLen - len(r.head); want > 0 && n > 0 {
		r.head = append(r.head, p[:min(n, want)]...)
		if !imageMagic(r.head) {
			return 0, fail.New(fail.Unsupported, "redis: image", r.in.String(), "name a Redis or Valkey server", errors.New("what it sent is no RDB image"))
		}
	}

	return n, err
}

// imageMagic reports whether b, cut to the length of a magic, begins an image.
func imageMagic(b []byte) bool {
	b = b[:min(len(b), magicLen)]
	for _, word := range []string{"REDIS", "VALKEY"} {
		k := min(len(b), len(word))
		if string(b[:k]) == word[:k] && strings.Trim(string(b[k:]), "0123456789") == "" {
			return true
		}
	}

	return false
}
