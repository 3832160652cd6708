// Package words says what is in the way of a moment, for people: what the search
// found means, and what to do.
//
// It has a word for everything that the search can name, and never decides anything.
package words
