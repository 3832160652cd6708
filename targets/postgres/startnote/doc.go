// Package startnote says how a PostgreSQL server that a restore left stopped is
// started with its own configuration, where the base does not hold that. It
// promises a command that a shell runs as it stands. It starts nothing.
package startnote
