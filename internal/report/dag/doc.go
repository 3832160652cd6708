// Package dag draws steps that wait for each other as one SVG picture: in columns,
// each step to the right of all that it waits for.
//
// The same graph gives the same bytes. It shows no line that another way through
// the picture already says. It loads nothing from anywhere, so that the picture can
// be kept as evidence.
package dag
