package answer

import (
	"errors"

	"drctl/config"
	"drctl/internal/fail"
	"drctl/targets"
)

// Mistake is one thing wrong with the configuration, as JSON. Line and Column
// count from 1 and are 0 when the mistake has no place.
type Mistake struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// Validated is the outcome of config validate as JSON.
type Validated struct {
	Format   int       `json:"format"`
	OK       bool      `json:"ok"`
	File     string    `json:"file,omitempty"`
	Hash     string    `json:"hash,omitempty"`
	Problems []Mistake `json:"problems"`
	Warnings []Mistake `json:"warnings"`
}

// Finding is the outcome of one check of the preflight.
type Finding struct {
	Check    string           `json:"check"`   // program, secret, key, engine, vault or instance
	Subject  string           `json:"subject"` // a key of the file, a region, orders/0@east
	Severity targets.Severity `json:"severity"`
	Message  string           `json:"message"`
	Fix      string           `json:"fix,omitempty"` // a statement, a command, or what to change
}

// Preflight is the outcome of config validate --connect as JSON.
type Preflight struct {
	Format   int       `json:"format"`
	OK       bool      `json:"ok"`
	Findings []Finding `json:"findings"`
}

// MistakesOf lists what is wrong with a file that cannot be used; one that
// cannot even be read is one mistake without a place.
func MistakesOf(err error) []Mistake {
	var all config.Errors
	if errors.As(err, &all) {
		return Mistakes(all)
	}
	m := Mistake{Message: err.Error()}

	var fe *fail.Error
	if errors.As(err, &fe) {
		m.File, m.Hint = fe.Subject, fe.Hint
		if fe.Err != nil {
			m.Message = fe.Err.Error()
		}
	}

	return []Mistake{m}
}

// Mistakes are those of a file as they are printed.
func Mistakes(ms []config.Mistake) []Mistake {
	out := []Mistake{}
	for _, m := range ms {
		out = append(out, Mistake{File: m.File, Line: m.Line, Column: m.Col, Path: m.Path, Message: m.Message, Hint: m.Hint})
	}

	return out
}
