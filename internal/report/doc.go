// Package report shows a record of evidence to people: HTML is one
// self-contained page for a browser or for paper, Text a summary for a
// terminal with the verdict first.
//
// It promises that the page loads nothing from anywhere and needs no script,
// that colour is never the only signal, and that no text in the record can
// become markup, a terminal command or a change of writing direction. It shows
// what the record says and adds no judgement of its own; the content hash is
// printed so that the page can be compared with the record.
package report
