// Command drctl-engine is a Temporal server for one machine: every service in
// one process, SQLite on disk, loopback only. `drctl up` starts and supervises
// it; nothing else in drctl links a Temporal server.
//
// It promises that
//   - one directory is served by one engine at a time;
//   - every acknowledged event is on disk (WAL, synchronous=full), so a kill -9
//     loses nothing;
//   - a database written by a newer schema is refused, and one of an older
//     schema is copied before it is upgraded;
//   - it ends when its standard input closes, unless it runs --detached;
//   - nobody but its user gets a word with it: all its ports speak TLS alone and
//     demand the certificate in engine.pem, which that user alone can read.
//
// It never listens outside the loopback interface and never phones home.
//
// The first line on standard output is JSON: either
// {"address":...,"pid":...} once the namespace can be used, or {"error":{...}}.
package main
