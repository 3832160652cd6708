package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"drctl/config/unit"
	"drctl/internal/fail"
	"drctl/internal/trust"
)

// maxFile bounds a configuration file.
const maxFile = 4 << 20

// Load reads, checks and resolves a file. env answers {env: NAME} references
// and may be nil. The error is a *fail.Error: denied, or invalid, with an Errors as
// its cause when the file could be read. For root a file that another user owns or may
// write is denied. Warnings are left in the result.
func Load(path string, env func(string) (string, bool)) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer f.Close()

	if info, err := f.Stat(); err == nil && os.Geteuid() == 0 {
		// It may name commands that are run.
		if err := trust.Owned("config: read", path, info); err != nil {
			return nil, err
		}
	}

	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fileError(path, err)
	}

	c, err := Parse(data, path)
	if err != nil {
		return nil, err
	}
	c.env = env
	c.warnSecretFiles()

	return c, nil
}

func fileError(path string, err error) error {
	const op = "config: read"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail.New(fail.Invalid, op, path, "name the file with --config, or begin with: drctl config example > drctl.yaml", err)
	case errors.Is(err, fs.ErrPermission):
		return fail.New(fail.Denied, op, path, "run drctl as a user who may read it", err)
	}

	return fail.New(fail.Invalid, op, path, "", err)
}

// Parse reads, checks and resolves the text of a file; name is what mistakes
// call it. Secrets of the environment resolve only after Load.
func Parse(data []byte, name string) (*Config, error) {
	c := &Config{source: source{file: name, places: map[string]place{}, broken: map[string]bool{}}}
	d := &decoder{src: &c.source, inside: map[*yaml.Node]bool{}}

	root, bad := readYAML(data, name)
	if bad != nil {
		return nil, invalid(name, Errors{*bad})
	}

	setDefaults(reflect.ValueOf(c).Elem())
	d.decode(root, reflect.ValueOf(c).Elem(), "", "")
	c.derive()
	v := &checker{Config: c, errs: d.errs}
	v.check()

	c.warnings = sortMistakes(c.warnings)
	if len(v.errs) > 0 {
		return nil, invalid(name, Errors(sortMistakes(v.errs)))
	}

	return c, nil
}

func invalid(name string, errs Errors) error {
	return fail.New(fail.Invalid, "config", name, "", errs)
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// readYAML parses one document into its root node.
func readYAML(data []byte, name string) (root *yaml.Node, bad *Mistake) {
	mistake := func(line int, format string, args ...any) *Mistake {
		return &Mistake{File: name, Line: line, Col: min(line, 1), Message: fmt.Sprintf(format, args...)}
	}
	if len(data) > maxFile {
		return nil, mistake(0, "the file is larger than %s", unit.Size(maxFile))
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node

	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return nil, &Mistake{File: name, Line: 1, Col: 1, Message: "the file is empty", Hint: "begin with: drctl config example > drctl.yaml"}
	}

	if err == nil {
		if err = dec.Decode(&next); errors.Is(err, io.EOF) {
			return doc.Content[0], nil
		}

		if err == nil {
			return nil, mistake(max(next.Line, 1), "the file holds a second document; one file is one document")
		}
	}

	msg, line := err.Error(), 1
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		msg = msg[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}

	bad = mistake(line, "this is not YAML: %s", msg)
	switch {
	case strings.Contains(msg, "cannot start any token"):
		bad.Hint = "indent with spaces, and quote text that begins with a special character"
	case strings.Contains(msg, "mapping values are not allowed"):
		bad.Hint = "check the indentation, and quote text that contains \": \""
	}

	return nil, bad
}
