// Package sqlstate says what the errors of a PostgreSQL server mean, and what to do.
//
// It promises one meaning for one SQLSTATE, whoever asked. It never asks a server.
package sqlstate
