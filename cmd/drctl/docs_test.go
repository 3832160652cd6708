package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// A command or a flag that a page names is there, and README names every command.
func TestPagesNameCommandsThatAreThere(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}

	root, named := newApp(io.Discard, io.Discard).root(), 0
	root.InitDefaultCompletionCmd()

	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}

		for _, line := range commandsIn(string(text)) {
			if wrong := wrongIn(root, line); wrong != "" {
				t.Errorf("%s: %q: %s", filepath.Base(page), line, wrong)
			}

			named++
		}
	}

	if named < 100 {
		t.Errorf("only %d commands were found in the pages", named)
	}
}

func TestReadmeListsEveryCommand(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}

	_, table, _ := strings.Cut(string(text), "\n## Commands\n")
	table, _, _ = strings.Cut(table, "\n## ")

	for _, c := range newApp(io.Discard, io.Discard).root().Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" && !regexp.MustCompile("`[^`]*\\b"+c.Name()+"\\b").MatchString(table) {
			t.Errorf("drctl %s is not in README's table of commands", c.Name())
		}
	}
}

var (
	inCode = regexp.MustCompile("`([^`\n]+)`")
	quoted = regexp.MustCompile(`"[^"]*"`)
	format = regexp.MustCompile(`^drctl \w+ v\d+$`) // the name of something stored
)

// commandsIn are the command lines of drctl in a page: in blocks of code and in spans of it.
func commandsIn(page string) []string {
	var lines []string
	fenced := false

	for _, line := range strings.Split(page, "\n") {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			fenced = !fenced
		case fenced, strings.HasPrefix(line, "    "):
			if text := strings.TrimSpace(line); strings.HasPrefix(text, "drctl ") {
				lines = append(lines, text)
			}
		default:
			for _, span := range inCode.FindAllStringSubmatch(line, -1) {
				if strings.HasPrefix(span[1], "drctl ") && !format.MatchString(span[1]) {
					lines = append(lines, strings.ReplaceAll(span[1], `\|`, "|"))
				}
			}
		}
	}

	return lines
}

// wrongIn says what a command line names that is not there. Alternatives of a
// word are written with bars between them.
func wrongIn(root *cobra.Command, line string) string {
	line, _, _ = strings.Cut(line, " #")
	words := strings.Fields(quoted.ReplaceAllString(line, "TEXT"))[1:]
	command := root

	for _, word := range words {
		word = strings.Trim(word, "[],;:.…")
		if word == "" || word == ">" || word == "|" {
			break
		}

		if name, ok := strings.CutPrefix(word, "--"); ok {
			name, _, _ = strings.Cut(name, "=")
			if command.Flag(name) == nil && command.InheritedFlags().Lookup(name) == nil && name != "version" && name != "help" {
				return "no flag --" + name
			}

			continue
		}

		if !command.HasSubCommands() || strings.HasPrefix(word, "-") || word == strings.ToUpper(word) {
			continue
		}

		for _, name := range strings.Split(word, "|") {
			found, _, err := command.Find([]string{name})
			if err != nil || found == command {
				return "no command " + name
			}

			if !strings.Contains(word, "|") {
				command = found
			}
		}

		if strings.Contains(word, "|") {
			break
		}
	}

	return ""
}
