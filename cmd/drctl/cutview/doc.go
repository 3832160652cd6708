// Package cutview shows cuts to people: in a row, in a line, and whole.
package cutview
