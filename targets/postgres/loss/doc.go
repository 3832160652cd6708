// Package loss says what an old primary had that its successor has not: the part of
// the log, and, where its disks can be read, the transactions.
//
// It promises that a loss that was not read from the old log itself is not called
// read, and that a transaction is listed only when it was decided behind the fork.
// It reads a stopped server's directory, and never writes.
package loss
