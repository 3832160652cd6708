package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/targets"
	"drctl/targets/assert"
	"drctl/targets/redis/reply"
)

// Verify checks a running server: that it answers, has loaded everything and
// can write its files; that a sandbox holds as many keys as the restore loaded;
// the configured assertions; and,
// where its directory can be read, the append-only file by the server's own
// check tool // and the files of a restore by their hashes.
func (d *Driver) Verify(ctx context.Context, in targets.Instance, want targets.Expectation) ([]targets.Finding, error) {
	const op = "redis: verify"

	c, err := client(in, 0)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	start := time.Now()

	if err := c.Ping(ctx).Err(); err != nil {
		return nil, wrap(op, in, err)
	}
	subject := in.String()
	out := []targets.Finding{{Check: "ping", Subject: subject, Severity: targets.Passed, Expected: "PONG", Got: "PONG", Took: time.Since(start)}}

	m, err := info(ctx, c, "persistence", "keyspace", "replication")
	if err != nil {
		return nil, wrap(op, in, err)
	}

	out = append(out, compare("loading", subject, "0", m["loading"], ""))
	if m["aof_enabled"] == "1" {
		out = append(out, compare("aof-last-write", subject, "ok", m["aof_last_write_status"], ""))
	}

	dir := want.DataDir
	if dir == "" {
		dir = in.DataDir
	}

	f, err := checkKeys(in, dir, countKeys(m))
	if err != nil {
		return out, err
	}

	out = append(out, f)
	for _, a := range want.Assertions {
		f, err := runAssertion(ctx, in, a)
		if err != nil {
			return out, err
		}
		out = append(out, f)
	}

	if dir != "" && !want.Quick {
		fs, err := d.verifyFiles(ctx, dir, m["aof_enabled"] == "1", want.Progress)
		if err != nil {
			return out, err
		}
		out = append(out, fs...)
	}

	return out, nil
}

// checkKeys compares the number of keys with what the restore's server had
// loaded, less those whose time was up since. Of any other server nobody has
// said how many there must be: then the number is no check that passed.
func checkKeys(in targets.Instance, dir string, got keyCounts) (targets.Finding, error) {
	f := targets.Finding{Check: "keys", Subject: in.String(), Severity: targets.Skipped, Got: got.String(),
		Expected: "(nothing configured)", Detail: "for information: an assertion on DBSIZE makes it a check"}
	if dir == "" || in.Role != targets.Sandbox {
		return f, nil
	}

	rec, ok, err := readRecord(dir)
	if err != nil || !ok || rec.Loaded == nil {
		return f, err
	}

	f.Severity, f.Expected, f.Detail = targets.Passed, rec.Loaded.String(), "as the restore loaded them, less what has expired since"
	if got.Keys-got.Expiring != rec.Loaded.Keys-rec.Loaded.Expiring || got.Expiring > rec.Loaded.Expiring {
		f.Severity = targets.Failed
	}

	return f, nil
}

// String counts the keys with and without a time to live.
func (c keyCounts) String() string {
	return fmt.Sprintf("%d and %d with a time to live", c.Keys-c.Expiring, c.Expiring)
}

func compare(check, subject, want, got, detail string) targets.Finding {
	f := targets.Finding{Check: check, Subject: subject, Severity: targets.Passed, Expected: want, Got: got, Detail: detail}
	if want != got {
		f.Severity = targets.Failed
	}

	return f
}

// runAssertion runs one configured command. A command that the server refuses is a
// failed check: the expectation was not met.
func runAssertion(ctx context.Context, in targets.Instance, a targets.Assertion) (targets.Finding, error) {
	const op = "redis: assertion"
	sum := sha256.Sum256([]byte(a.Query))
	f := targets.Finding{Check: "assertion " + a.Name, Subject: in.String(), Expected: a.Want, Query: hex.EncodeToString(sum[:])}

	args, err := splitCommand(a.Query)
	if err != nil {
		return f, fail.New(fail.Invalid, op, a.Name, "write a Redis command line", err)
	}

	db := 0
	if len(args) > 2 && args[0] == "-n" {
		if db, err = strconv.Atoi(args[1]); err != nil {
			return f, fail.New(fail.Invalid, op, a.Name, "write -n <database number>", err)
		}
		args = args[2:]
	}

	if len(args) == 0 {
		return f, fail.New(fail.Invalid, op, a.Name, "write a Redis command line", errors.New("the query is empty"))
	}

	c, err := client(in, db)
	if err != nil {
		return f, err
	}
	defer c.Close()
	start := time.Now()

	cmd := make([]any, len(args))
	for i, s := range args {
		cmd[i] = s
	}
	v, err := c.Do(ctx, cmd...).Result()

	f.Took = time.Since(start)
	switch code, _ := reply.Meaning(errOr(err)); {
	case errors.Is(err, goredis.Nil):
		f.Got = assert.Nil
	case err != nil && (code == fail.Unavailable || ctx.Err() != nil):
		return f, wrap(op, in, err)
	case err != nil:
		f.Severity, f.Got, f.Detail = targets.Failed, "an error", err.Error()
		return f, nil
	default:
		f.Got = firstText(v)
	}

	ok, why := assert.Meets(a.Want, f.Got)
	if f.Severity, f.Detail = targets.Failed, why; ok {
		f.Severity = targets.Passed
	}

	return f, nil
}

func errOr(err error) error {
	if err == nil {
		return errors.New("")
	}

	return err
}

// firstText is the first element of a reply as text.
func firstText(v any) string {
	switch x := v.(type) {
	case nil:
		return assert.Nil
	case []any:
		if len(x) == 0 {
			return assert.Empty
		}

		return firstText(x[0])
	case string:
		return x
	}

	return fmt.Sprint(v)
}

// splitCommand splits at white space; single and double quotes keep it, and
// inside double quotes a backslash keeps the next byte.
func splitCommand(s string) ([]string, error) {
	var out []string
	var cur strings.Builder

	in, quote := false, byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			if in {
				out = append(out, cur.String())
				cur.Reset()
				in = false
			}
		case quote == 0 && (c == '"' || c == '\''):
			quote, in = c, true
		case c == quote && quote != 0:
			quote = 0
		case quote == '"' && c == '\\' && i+1 < len(s):
			i++
			cur.WriteByte(s[i])
		default:
			cur.WriteByte(c)
			in = true
		}
	}

	if quote != 0 {
		return nil, fmt.Errorf("a quote %c is not closed", quote)
	}

	if in {
		out = append(out, cur.String())
	}

	return out, nil
}

// verifyFiles checks the files in a data directory.
func (d *Driver) verifyFiles(ctx context.Context, dir string, aof bool, p targets.Progress) ([]targets.Finding, error) {
	var out []targets.Finding

	f, ok, err := checkRestored(ctx, dir, p)
	if err != nil {
		return nil, err
	}

	if ok {
		out = append(out, f)
	}

	if !aof {
		return out, nil
	}
	manifests, _ := filepath.Glob(filepath.Join(dir, "*", "*.manifest"))

	tool, name, ok := d.checkTool()
	if len(manifests) == 0 {
		return append(out, targets.Finding{Check: name, Subject: dir, Severity: targets.Skipped, Detail: "no manifest of an append-only file here"}), nil
	}

	if !ok {
		return append(out, targets.Finding{Check: name, Subject: dir, Severity: targets.Skipped, Detail: name + " is not installed"}), nil
	}

	for _, m := range manifests {
		p.Report(name, 0, 0)
		start := time.Now()

		text, err := exec.CommandContext(ctx, tool, m).CombinedOutput()
		if ctx.Err() != nil {
			return out, ctx.Err()
		}

		f := targets.Finding{Check: name, Subject: m, Severity: targets.Passed, Expected: "valid", Got: "valid", Took: time.Since(start)}
		if err != nil {
			f.Severity, f.Got, f.Detail = targets.Failed, "not valid", lastLines(string(text), 4)
		}
		out = append(out, f)
	}

	return out, nil
}

func lastLines(s string, n int) string {
	l := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(l[max(0, len(l)-n):], " | ")
}

// Advise names the checks of the files.
func (d *Driver) Advise(in targets.Instance) string {
	return "redis-check-aof on the manifest, or redis-check-rdb on the image, that lies in " + in.DataDir + "; then start the server as the restore says"
}
