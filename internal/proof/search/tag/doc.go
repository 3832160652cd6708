// Package tag reads what platforms write into their logs of global transactions.
//
// It promises that every text is some tag: what is malformed is a global transaction
// of its own that never gets whole. It is pure.
package tag
