package client

import (
	"net"
	"strings"

	"drctl/targets"
)

// clients are the command lines that look into an instance of a kind.
var clients = map[targets.Kind]func(targets.Instance) string{
	targets.Postgres: func(in targets.Instance) string {
		return with("PGPASSWORD", in.Password.Reveal()) + "psql" + hostPort(in.Address) + flag("-U", in.User) + flag("-d", in.Database)
	},
	targets.Redis: func(in targets.Instance) string {
		line := with("REDISCLI_AUTH", in.Password.Reveal()) + "redis-cli" + hostPort(in.Address) + flag("--user", in.User)
		if in.Password.Reveal() == "" {
			line += " --askpass"
		}

		return line
	},
	targets.S3: func(in targets.Instance) string {
		return with("AWS_ACCESS_KEY_ID", in.User) + with("AWS_SECRET_ACCESS_KEY", in.Password.Reveal()) +
			"aws" + flag("--endpoint-url", in.Address) + " s3 ls" + flag("s3://"+in.Database+"/"+in.Prefix)
	},
}

// Line is the shell command that looks into the instance with the client of
// its kind, password included; without a password the client asks for it. It is
// "" for a kind or an address that is not known.
func Line(in targets.Instance) string {
	line := clients[in.Kind]
	if line == nil || in.Address == "" {
		return ""
	}

	return line(in)
}

// flag is the words, each quoted and behind a space, or "" when the last of them
// is empty.
func flag(words ...string) string {
	if words[len(words)-1] == "" {
		return ""
	}

	var b strings.Builder
	for _, w := range words {
		b.WriteString(" " + quote(w))
	}

	return b.String()
}

func with(name, value string) string {
	if value == "" {
		return ""
	}

	return name + "=" + quote(value) + " "
}

func hostPort(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return flag("-h", address)
	}

	return flag("-h", host) + flag("-p", port)
}

// quote makes one word of a shell's line.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+,", r)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}

	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
