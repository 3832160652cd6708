// Package vault is a region's self-describing store of everything needed to
// recover: bases, streams, object data, cuts and reports, in a directory or a
// bucket, encrypted to one age key.
//
// It promises that a key is written once and whole or not at all, that reading
// an encrypted object to its end has checked every byte of it and that it belongs
// under the key asked for, that records are written after what they name, and
// that mirroring is a verified set union that locks nothing. docs/vault-format.md
// describes what it writes precisely enough to recover without it.
//
// It never overwrites, deletes only in Retain, never puts a secret into an
// argument list, an error or a log, and knows no store's protocol.
package vault
