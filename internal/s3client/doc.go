// Package s3client makes clients of S3 servers, says what their errors mean and
// uploads large bodies in parts.
//
// It promises that a read or a write that the server refused has one code
// wherever it happened, that every body carries a checksum which the server
// checks, and that parts of an upload that failed are taken back. It never
// makes or deletes objects of its own, and never logs.
package s3client
