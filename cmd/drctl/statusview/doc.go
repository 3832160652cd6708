// Package statusview shows people how things stand. It promises words and tables of what it
// is given. It asks nobody, and judges nothing.
package statusview
