// Package answertest describes what drctl prints with --json and holds outputs
// against the description: Markdown makes the page of the documentation from the
// types and their comments, and Fits decodes an output strictly.
//
// It promises that a field is on the page when a program prints it, with its unit,
// and that an output which has another field, or null for a list, does not fit. It
// is for tests: it reads the source beside it.
package answertest
