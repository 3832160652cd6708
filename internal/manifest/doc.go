// Package manifest is the form of an object manifest: lines of JSON, one for
// each object of a bucket, in strictly ascending order of their keys. The driver
// writes and restores by it, a vault checks by it. It is pure: it knows readers
// and writers, no store and no vault. What is malformed or out of order is never
// passed over: every reader gets the same error for it.
package manifest
