package startnote

import (
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"drctl/internal/servers"
)

// stoodIn are what a restore puts where the base has no file of the name.
// Without a postgresql.auto.conf nothing was set by ALTER SYSTEM.
var stoodIn = map[string]string{
	"postgresql.conf": "an empty postgresql.conf, which means PostgreSQL's defaults",
	"pg_hba.conf":     "a pg_hba.conf that admits local users under their own names only",
	"pg_ident.conf":   "an empty pg_ident.conf",
}

// For tells how the server that was left stopped in a directory is started
// with the configuration that the source kept elsewhere, as the base's record has
// it, so that it comes up at the port of the address, if that has one. It also tells
// what was put in that configuration's place. It is "" when the base held it all.
func For(tools servers.Binaries, dir, address, elsewhere string, made []string) string {
	var have []string
	for _, name := range made {
		if what, ok := stoodIn[name]; ok {
			have = append(have, what)
		}
	}

	if elsewhere == "" && len(have) == 0 {
		return ""
	}
	var kept []string
	options := "-c data_directory=" + shellQuote(dir) // the configuration names the source's

	if elsewhere != "" {
		kept = strings.Split(elsewhere, ", ")
	}

	for _, path := range kept {
		options += " -c " + fileSetting(path) + "=" + shellQuote(path)
	}

	note := "the source kept configuration outside its data directory, at " + elsewhere + ", and the base does not hold it: bring it to this host"
	if elsewhere == "" {
		note = "the base does not hold all of the source's configuration, and its record does not say where that was"

		if slices.Contains(made, "postgresql.conf") {
			options += " -c config_file=YOUR-POSTGRESQL.CONF"
		}
	}

	service := "data_directory in that configuration to " + dir
	if _, port, err := net.SplitHostPort(address); err == nil && slices.Contains(made, "postgresql.conf") {
		options += " -c port=" + port
		service += ", and port to " + port
	}

	if len(have) > 0 {
		note += ". In its place " + dir + " has " + strings.Join(have, ", and ")
	}

	start := shellQuote(filepath.Join(tools.PostgresBin, "pg_ctl")) + " start -D " + shellQuote(dir) + " -o " + shellQuote(options)
	if owner := tools.RunAs.Owner(); owner != "" {
		start = "runuser -u " + shellQuote(owner) + " -- " + start
	}

	return note + ". Your own configuration is used when it is started with: " + start +
		" ; for a service set " + service
}

// fileSetting is the setting that names a configuration file, by the names that
// such files have.
func fileSetting(path string) string {
	switch name := filepath.Base(path); {
	case strings.Contains(name, "hba"):
		return "hba_file"
	case strings.Contains(name, "ident"):
		return "ident_file"
	}

	return "config_file"
}

var shellPlain = regexp.MustCompile(`^[A-Za-z0-9_./:=,+@-]+$`)

// shellQuote writes one word of a shell's command line.
func shellQuote(s string) string {
	if shellPlain.MatchString(s) {
		return s
	}

	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
