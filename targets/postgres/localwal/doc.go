// Package localwal reads the write-ahead log that lies in a data directory.
//
// It promises that the log is followed along the timelines that lead to the one that
// is asked for, and that its end is where the last whole record ends: what stands
// behind it, of an earlier use of the file or half a record, is not of the log.
//
// It asks no server, and never writes.
package localwal
