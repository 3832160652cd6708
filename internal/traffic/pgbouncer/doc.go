// Package pgbouncer moves a database of one or more PgBouncers: their consoles pause
// and resume it, and its line in a file that PgBouncer reads says where it leads.
//
// It promises that
//   - all poolers are paused at the same time, within one deadline, or none stays so;
//   - clients of a database that is paused wait and see no error, until PgBouncer's
//     query_wait_timeout;
//   - of the line it changes host and port alone, atomically, keeping mode and owner of
//     the file; the file may be PgBouncer's own or one that it includes;
//   - what it reports was read back from the console: PgBouncer before 1.25 takes a
//     RELOAD that failed for one that did not.
//
// It never waits for the clients of a pool in session mode, who leave when they
// please: by policy they are disconnected, or it refuses. A route without a file is
// held and released, and pointed by another route behind it.
package pgbouncer
