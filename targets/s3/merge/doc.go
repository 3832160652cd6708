// Package merge merges sorted sequences without holding them. It is pure: it knows no
// store.
package merge
