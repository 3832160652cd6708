// Package control reads the control file of a data directory, global/pg_control.
//
// It promises that
//   - a file that was being written is read again, and one that is torn or damaged
//     never taken for whole;
//   - a shadow directory shares the files of the data directory and changes none of them.
//
// It never writes into a data directory, and never starts or asks a server.
package control
